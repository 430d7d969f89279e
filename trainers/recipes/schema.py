"""The schema of a recipe: every key, typed and range-checked by pydantic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import Field, NonNegativeInt, PositiveInt, PrivateAttr, field_validator

from agents.contract import Algorithm, Config


class Sampling(Config):
    """How a meta-batch is cut into shards. Part of the result: another size may change the last bits."""

    tasks_per_shard: PositiveInt = 10


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
        """Who learns, in a title: an oracle is not to be taken for an agent that adapts."""
        return f"{self.agent_name}, told the task," if self.task_in_observation else self.agent_name

    @property
    def title(self) -> str:
        """Who learns what."""
        return f"{self.learner} on {self.family}"

    def to_data(self) -> dict[str, Any]:
        """The resolved recipe as plain data, every default written out."""
        data = self.model_dump(mode="json")
        data["agent"] = {"name": self.agent_name, **self.agent.model_dump(mode="json")}
        return data

    def to_yaml(self) -> str:
        """The resolved recipe as YAML; `loading.load` reads it."""
        return yaml.safe_dump(self.to_data(), sort_keys=False)
