"""The state of a run in its checkpoints, and giving it back to a learner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agents.contract import AgentError, Learner, Weights
from trainers.errors import RunFolderError
from trainers.recipes.schema import Recipe
from trainers.runs import checkpoints


def run_state(learner: Learner, environment_steps: int = 0, behaviour_weights: Weights | None = None) -> dict[str, Any]:
    """The content of a checkpoint: everything that the run needs to be resumed there.

    With `behaviour_weights`, the weights from before the last update, the next iteration is sampled again.
    """
    state = {"learner": learner.state_dict(), "environment_steps": environment_steps}
    return state | ({} if behaviour_weights is None else {"behaviour_weights": dict(behaviour_weights)})


def restore(learner: Learner, recipe: Recipe, checkpoint: Path) -> tuple[int, dict[str, Any]]:
    """Give a learner its state in a checkpoint folder: (iteration, the whole state of the run).

    Raises:
        RunFolderError: the checkpoint does not fit, or holds weights alone.
    """
    iteration, state = checkpoints.load(checkpoint, recipe.agent_name)
    if "weights" in state:
        raise RunFolderError(
            f"checkpoint {checkpoint} holds weights alone, for it was made to be shown; evaluate it, or train a new "
            f"run that begins with it: init={checkpoint.parents[1]}"
        )
    _load(learner, recipe, checkpoint, iteration, state)
    return iteration, state


def restore_weights(learner: Learner, recipe: Recipe, checkpoint: Path) -> int:
    """Give a learner what it needs to act as in a checkpoint folder, which may hold weights alone: the iteration."""
    iteration, state = checkpoints.load(checkpoint, recipe.agent_name)
    _load(learner, recipe, checkpoint, iteration, state)
    return iteration


def _load(learner: Learner, recipe: Recipe, checkpoint: Path, iteration: int, state: dict[str, Any]) -> None:
    try:
        if "weights" in state:
            learner.load_weights(state["weights"])
            return
        learner.load_state_dict(state["learner"])
        if not (type(state["environment_steps"]) is int and state["environment_steps"] >= 0):
            raise ValueError(f"it counts {state['environment_steps']!r} environment steps")
        if "weights_before" in state:  # of an earlier version, which called them so
            state["behaviour_weights"] = state.pop("weights_before")
        _check_behaviour_weights(state.get("behaviour_weights"), learner, recipe.pipelined, iteration)
    except (AgentError, LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RunFolderError(
            f"checkpoint {checkpoint} does not fit the run's recipe: {reason}; nothing was changed"
        ) from error


def _check_behaviour_weights(given: Any, learner: Learner, pipelined: bool, iteration: int) -> None:
    """Raises ValueError unless the weights of a pending iteration are there if, and only if, one is pending.

    Some may be lacking that a learner has only after its first update.
    """
    pending = learner.weights() if pipelined and iteration else None
    fits = (given is None) == (pending is None)
    if pending is not None and given:
        fits = all(name in pending and value.shape == pending[name].shape for name, value in given.items())
    if not fits or given == {}:
        raise ValueError("the weights that its pending iteration is sampled with are not those of its agent")
