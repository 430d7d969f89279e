"""A family is held to its declarations before any of it is used."""

from __future__ import annotations

import pytest

from envs.task import Choice
from tests.helpers import LineFamily
from trainers.errors import RecipeError
from trainers.recipes import registry


@pytest.mark.parametrize(
    ("attribute", "value", "says"),
    [
        ("episode_steps", 0, "has 0 for episode_steps, which is a whole number of at least 1"),
        ("episode_steps", "ten", "has str 'ten' for episode_steps"),
        ("episode_steps", True, "has True for episode_steps"),
        ("parameters", ["goal"], "has a list of 1 for parameters, which maps names"),
        ("parameters", {"goal": (0, 1)}, "has a tuple of 2 for the distribution of goal"),
        ("parameters", {3: Choice((1.0,))}, "has 3 for the name of a parameter"),
        ("name", "", "has str '' for its name"),
        ("name", None, "has None for its name"),
        ("kind", "open", "has str 'open' for its kind, which is one of distribution, region, finite"),
    ],
)
def test_what_a_family_declares_is_looked_at_before_it_is_used(attribute, value, says):
    family = type("Mine", (LineFamily,), {attribute: value})
    with pytest.raises(RecipeError) as refused:
        registry.family(registry.give(family))
    assert says in str(refused.value)
