"""Configurations under the earlier names of their keys, alone and nested."""

from typing import Annotated, ClassVar, Literal

import pytest
from pydantic import Field, ValidationError

from agents import ALGORITHMS
from agents.contract import Config, renamed_keys, with_todays_names
from agents.maml import MAMLConfig
from agents.varibad import VariBADConfig
from trainers.recipes import registry


class Slow(Config):
    renamed: ClassVar = {"pace": "speed"}
    name: Literal["slow"] = "slow"
    speed: float = 1.0


class Fast(Config):
    renamed: ClassVar = {"rush": "speed"}
    name: Literal["fast"] = "fast"
    speed: float = 2.0


class Base(Config):
    renamed: ClassVar = {"discount": "gamma", "gone": "not_here_any_more"}
    gamma: float = 0.9


class Learner(Base):
    renamed: ClassVar = {"target_rate": "tau"}
    tau: float = 0.1
    optimiser: Annotated[Slow | Fast, Field(discriminator="name")] = Slow()
    memory: Fast | None = None


class Own(Learner):
    discount: float = 0.5  # a key of its own, by what was an earlier name of another


def test_a_subclass_inherits_the_earlier_names_of_its_bases():
    assert Learner.model_validate({"discount": 0.5, "target_rate": 0.2}) == Learner(gamma=0.5, tau=0.2)
    assert Learner.earlier_names() == {"discount": "gamma", "target_rate": "tau"}
    assert Own.model_validate({"discount": 0.3, "target_rate": 0.2}) == Own(discount=0.3, tau=0.2)


def test_a_key_by_both_names_is_refused():
    with pytest.raises(ValidationError, match="discount is the earlier name of gamma, and both are given; keep gamma"):
        Learner.model_validate({"discount": 0.5, "gamma": 0.5})
    assert with_todays_names(Learner, {"discount": 0.5, "gamma": 0.6}) == {"discount": 0.5, "gamma": 0.6}


def test_earlier_names_are_found_in_nested_sections_and_tagged_unions():
    data = {"discount": 0.5, "tau": 1, "optimiser": {"name": "slow", "pace": 3, "rush": 4}, "memory": {"rush": 5}}
    assert renamed_keys(Learner, data, "agent.") == [
        ("agent.discount", "agent.gamma"),
        ("agent.optimiser.pace", "agent.optimiser.speed"),  # rush is a name of the other kind
        ("agent.memory.rush", "agent.memory.speed"),
    ]
    assert with_todays_names(Learner, data) == {
        "gamma": 0.5, "tau": 1, "optimiser": {"name": "slow", "speed": 3, "rush": 4}, "memory": {"speed": 5},
    }  # fmt: skip


def test_an_override_that_does_not_name_the_kind_of_a_section_is_understood():
    assert renamed_keys(Learner, {"optimiser": {"rush": 4}}) == [("optimiser.rush", "optimiser.speed")]
    assert renamed_keys(MAMLConfig, {"outer": {"clip_ratio": 0.1}}) == [("outer.clip_ratio", "outer.clip_range")]


def test_what_is_unknown_or_current_stays_as_it_is():
    data = {"gamma": 0.5, "nonsense": {"discount": 1}, "optimiser": "slow"}
    assert renamed_keys(Learner, data) == []
    assert with_todays_names(Learner, data) == data


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_earlier_name_of_an_algorithm_is_read(name):
    config = registry.algorithm(name).config
    for old, new in config.earlier_names().items():
        default = config.model_fields[new].default
        assert config.model_validate({old: default}) == config.model_validate({new: default})
    assert not config.earlier_names().keys() & config.model_fields.keys()


def test_varibad_reads_ppos_earlier_names_beside_its_own():
    old = {"kl_coefficient": 0.3, "clip_ratio": 0.1, "minibatches": 3, "final_discount": 0.5}
    new = {"kl_coef": 0.3, "clip_range": 0.1, "num_minibatches": 3, "final_gamma": 0.5}
    assert VariBADConfig.model_validate(old) == VariBADConfig.model_validate(new)
