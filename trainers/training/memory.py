"""Too little memory, said with the keys of the recipe that ask for most of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from trainers.errors import RunError
from trainers.recipes import loading
from trainers.recipes.schema import Recipe

_NAMED = 3  # keys
_TIMES = ("seed", "updates", "epochs", "every", "iterations", "backtracks")  # no sizes: how often, or when


@contextmanager
def memory_named(recipe: Recipe) -> Iterator[None]:
    """Turn a lack of memory inside into a RunError that names the largest counts of the recipe."""
    try:
        yield
    except MemoryError as error:
        raise RunError(_sentence(recipe, str(error))) from error
    except RuntimeError as error:  # torch's own, on the CPU and on a GPU
        if not any(words in str(error) for words in ("allocate memory", "out of memory")):
            raise
        raise RunError(_sentence(recipe, "")) from error


def _sentence(recipe: Recipe, said: str) -> str:
    lacking = f" ({said[:1].lower()}{said[1:]})" if said else ""
    return f"there is not enough memory for this run{lacking}; lower {', '.join(largest_counts(recipe))}"


def largest_counts(recipe: Recipe) -> list[str]:
    """The keys of the agent and of evaluation that hold the largest whole numbers, as 'agent.rollouts (4000)'."""
    values = loading.dotted(recipe.to_data())
    counts = {
        key: value
        for key, value in values.items()
        if type(value) is int and key.startswith(("agent.", "evaluation.")) and not key.endswith(_TIMES)
    }
    largest = sorted(counts, key=lambda key: -counts[key])[:_NAMED]
    return [f"{key} ({counts[key]})" for key in largest]
