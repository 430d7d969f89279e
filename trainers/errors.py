"""Errors that are the user's to mend. The command prints their message and exits with code 2."""

from __future__ import annotations

from agents.contract import AgentError
from envs.task import TaskError
from trainers.sampling.trial_loop import SamplingError


class RecipeError(ValueError):
    """A recipe or an override is not valid; the message says which key and what would be."""


class RunError(ValueError):
    """A run folder or a checkpoint cannot be used as asked; nothing in it was changed."""


USER_ERRORS = (RecipeError, RunError, TaskError, AgentError, SamplingError)
