"""The schema of a recipe: every key, typed and range-checked; an unknown one is refused with the nearest valid one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, PrivateAttr, ValidationError, field_validator

from agents import ALGORITHMS
from agents.contract import Algorithm, Config
from envs.validation import sentence
from trainers.errors import RecipeError
from trainers.recipes import loading, registry


class Sampling(Config):
    """How a meta-batch is cut into shards. Part of the result: another size may change the last bits."""

    tasks_per_shard: PositiveInt = 10
    shard_timeout_s: PositiveFloat = 600.0  # seconds after which a shard that no worker finishes counts as hanging


class Evaluation(Config):
    """When and how adaptation is measured, on frozen task sets."""

    every: NonNegativeInt = 20  # iterations between validations; 0 means only the end of the run
    validation_tasks: PositiveInt = 40
    held_out_tasks: PositiveInt = 40
    rounds: PositiveInt = 1  # adaptations of a test trial, so rounds + 1 points of the curve
    rollouts: PositiveInt = 40  # episodes of each round and task
    repeats: PositiveInt = 1  # independent trials of each task
    task_seed: NonNegativeInt = 0  # of the frozen task sets
    seed: NonNegativeInt = 0  # of what happens in evaluation trials


class Checkpoints(Config):
    """How often a checkpoint is written, to resume from."""

    every: PositiveInt = 20  # iterations; the end of the run is always kept
    keep: PositiveInt = 2  # newest ones kept; the best one on the validation tasks is kept as well


class Recipe(Config):
    """Everything that a run depends on. It is validated with its algorithm as pydantic's context."""

    renamed: ClassVar[Mapping[str, str]] = {"tells_task": "task_in_observation"}

    seed: NonNegativeInt
    iterations: PositiveInt
    workers: NonNegativeInt  # Ray actors; 0 samples in this process
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]
    family: str
    task_in_observation: bool = False  # the oracle: its observations hold the task, the upper end of a comparison
    agent: Any  # the algorithm's own configuration
    agent_name: str = Field(exclude=True)
    init: str | None = None  # a run folder whose last weights to start from; None starts afresh
    train_tasks: PositiveInt | None = None  # fixed training tasks; None draws fresh ones each iteration
    learner_threads: PositiveInt | Literal["auto"] = "auto"  # auto: all cores; part of the result, in the last bits
    sampling: Sampling = Sampling()
    evaluation: Evaluation = Evaluation()
    checkpoints: Checkpoints = Checkpoints()
    tensorboard: bool = False  # event files in the run folder
    wandb: Literal["off", "offline", "online"] = "off"  # the key comes from `wandb login` or WANDB_API_KEY, never here
    wandb_project: str = "acclimate"
    _algorithm: Algorithm = PrivateAttr()

    def model_post_init(self, context: Any) -> None:
        """Keep the algorithm that `agent_name` stands for."""
        self._algorithm = context

    @classmethod
    def load(cls, name: str | Path, overrides: Sequence[str] = (), *, quiet: bool = False) -> Recipe:
        """The checked recipe of this name or in this file, with `key=value` overrides (dots reach into sections).

        Keys may be given by earlier names; one sentence on stderr says today's, unless `quiet`.

        Raises:
            RecipeError: it cannot be read, or a key or a value in it is not valid.
        """
        path = name if isinstance(name, Path) else loading.find(name)
        data = loading.read(path)
        agent_name = _agent_name(loading.with_overrides(data, overrides), str(path))
        return cls._checked(data, overrides, str(path), registry.algorithm(agent_name), quiet)

    def with_overrides(self, overrides: Sequence[str], where: str) -> Recipe:
        """The recipe of a run that is resumed, with overrides that do not make another run of it.

        Neither its file nor its algorithm is looked up again; `where` names the recipe in errors.
        """
        loading.refuse_another_run(overrides)
        return self._checked(self.to_data(), overrides, where, self.algorithm)

    @classmethod
    def _checked(
        cls, data: Mapping[str, Any], overrides: Sequence[str], where: str, algorithm: Algorithm, quiet: bool = False
    ) -> Recipe:
        translate = loading.translation(cls, algorithm.config)
        current, earlier = loading.in_todays_names(data, overrides, translate)
        name = _agent_name(current, where)
        agent = {key: value for key, value in current["agent"].items() if key != "name"}
        try:
            config = algorithm.config.model_validate(agent)
        except ValidationError as error:
            raise RecipeError(sentence(error, algorithm.config, where, "agent.", extra=("name",))) from error
        try:
            recipe = cls.model_validate({**current, "agent": config, "agent_name": name}, context=algorithm)
        except ValidationError as error:
            raise RecipeError(sentence(error, cls, where, "")) from error
        if not quiet:
            loading.say_todays_names(earlier)
        return recipe

    @property
    def algorithm(self) -> Algorithm:
        """The algorithm that `agent_name` stands for, resolved once a run: when the recipe was validated."""
        return self._algorithm

    @field_validator("wandb", mode="before")
    @classmethod
    def _off_is_a_word(cls, value: Any) -> Any:
        """YAML 1.1 reads the word off as false."""
        return "off" if value is False else value

    @property
    def learner(self) -> str:
        """The name of the learner in a title: an oracle is not to be taken for an agent that adapts."""
        return f"oracle {self.agent_name}" if self.task_in_observation else self.agent_name

    @property
    def title(self) -> str:
        """The learner and the family."""
        return f"{self.learner} on {self.family}"

    def to_data(self) -> dict[str, Any]:
        """The resolved recipe as plain data, every default written out."""
        data = self.model_dump(mode="json")
        data["agent"] = {"name": self.agent_name, **self.agent.model_dump(mode="json")}
        return data

    def to_yaml(self) -> str:
        """The resolved recipe as YAML; `load` reads it."""
        return yaml.safe_dump(self.to_data(), sort_keys=False)


def _agent_name(data: Mapping[str, Any], where: str) -> str:
    """The name of the agent in a recipe; `where` names the recipe in errors."""
    if "agent_name" in data:
        raise RecipeError(f"{where}: there is no key agent_name; did you mean agent.name?")
    agent = data.get("agent")
    if not isinstance(agent, Mapping) or not isinstance(agent.get("name"), str):
        raise RecipeError(f"{where}: agent must be a section with a name, such as {min(ALGORITHMS)}, and its own keys")
    return agent["name"]
