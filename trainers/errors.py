"""The user's errors, by kind: what somebody who runs the platform can mend. Each message is one sentence.

    UserError
    ├── RecipeError          a recipe, an override or a name in one
    ├── SamplingError        a trial that cannot be sampled
    └── RunError             a run that cannot be made, used or continued as asked
        ├── RunFolderError   its folder, or a file or checkpoint in it
        ├── MetricError      a metric that is not described or not finite
        ├── DeviceError      a device that is not there
        ├── ClusterError     Ray or one of its workers or learners
        ├── TrackerError     TensorBoard or Weights & Biases
        ├── DrawingError     something that cannot be drawn, or written as a plot or a video
        └── UsageError       options or calls that contradict each other

`agents` and `envs` have their own, AgentError and TaskError. The command prints the message and exits with code 2.
"""

from __future__ import annotations

from agents.contract import AgentError
from envs.errors import TaskError


class UserError(Exception):
    """Base of the user's errors that `trainers` raises."""


class RecipeError(UserError, ValueError):
    """A recipe or an override is not valid; the message says which key and what would be."""


class SamplingError(UserError, RuntimeError):
    """A trial could not be sampled; the message names the task."""


class RunError(UserError, ValueError):
    """A run cannot be made, used or continued as asked; nothing that it had written was changed."""


class RunFolderError(RunError):
    """A run folder, or a file or checkpoint in it, cannot be read, written or used as asked."""


class MetricError(RunError):
    """A metric is not described, described twice or not finite."""


class DeviceError(RunError):
    """The device that a recipe names is not there."""


class ClusterError(RunError):
    """Ray, or one of its workers, cannot be used."""


class LearnersLostError(ClusterError):
    """A learner group cannot go on: one of its learners died, hung or came to other numbers."""


class TrialsLostError(ClusterError):
    """Sampled trials are gone with the node that held them; they can be sampled again."""


class TrackerError(RunError):
    """A tracker of experiments cannot be used."""


class DrawingError(RunError):
    """A plot or a video cannot be drawn or written."""


class UsageError(RunError):
    """Options or calls that contradict each other or come in the wrong order."""


USER_ERRORS = (UserError, TaskError, AgentError)
