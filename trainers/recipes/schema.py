"""The schema of a recipe: every key, typed and range-checked; an unknown one is refused with the nearest valid one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from agents import ALGORITHMS
from agents.contract import Algorithm, Config
from envs.validation import nearest
from envs.yaml_text import dump_yaml
from trainers.errors import RecipeError
from trainers.recipes import defaults, loading, registry
from trainers.recipes.refusing import Source, agent_refusal, refusal

Cluster = Annotated[
    str,
    Field(pattern=r"^(auto|(ray://)?(\[[0-9A-Fa-f:.]+\]|[^\s/:\[\]]+):\d{1,5})$", examples=["auto", "10.0.0.1:6379"]),
]
Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$", examples=["auto", "cpu", "cuda", "cuda:0"])]


class Sampling(Config):
    """How a meta-batch is cut into shards. Part of the result: another size may change the last bits."""

    tasks_per_shard: PositiveInt = 10  # tasks that one worker samples at a time
    shard_timeout_s: PositiveFloat = 600.0  # seconds after which a shard that no worker finishes counts as hanging
    # The next meta-batch is sampled while this one is learned, with the weights from before: a lag of one. PEARL always
    # does so; for on-policy agents it trades fresh trials for busy workers.
    overlap: bool = False


class Evaluation(Config):
    """When and how adaptation is measured, on frozen task sets."""

    every: NonNegativeInt = 20  # iterations between validations; 0 means only the end of the run
    validation_tasks: PositiveInt = 40  # frozen tasks that checkpoints are chosen by
    held_out_tasks: PositiveInt = 40  # frozen tasks that results are measured on
    rounds: PositiveInt = 1  # adaptations of a test trial, so rounds + 1 adaptation steps of the curve
    rollouts: PositiveInt = 40  # episodes of each round and task
    repeats: PositiveInt = 1  # independent trials of each task
    task_seed: NonNegativeInt = 0  # seed of the frozen task sets
    seed: NonNegativeInt = 0  # seed of what happens in evaluation trials


class Checkpoints(Config):
    """How often a checkpoint is written, to resume from."""

    every: PositiveInt = 20  # iterations between checkpoints; the end of the run is always kept
    keep: PositiveInt = 2  # newest ones kept; the best one on the validation tasks is kept as well


class Curriculum(Config):
    """Training tasks that begin near a start and widen as the validation return rises."""

    start: dict[str, float | tuple[float, ...]] = {}  # by task parameter, where it begins; {}: no curriculum
    share: Annotated[float, Field(ge=0, le=1)] = 0.2  # of the way from there to the whole distribution, at first
    grow: Annotated[float, Field(gt=0, le=1)] = 0.2  # of the share, at each validation whose return is high enough
    above: float = 0.0  # validation return, after the last adaptation, that is high enough


class Recipe(Config):
    """Everything that a run depends on. It is validated with its algorithm as pydantic's context."""

    renamed: ClassVar[Mapping[str, str]] = {"tells_task": "task_in_observation"}

    seed: NonNegativeInt = 0  # of all that is random in training
    iterations: PositiveInt = 100  # meta-updates of the run
    workers: NonNegativeInt | Literal["auto"] = "auto"  # Ray actors; 0 samples in this process; auto: one a core
    learners: NonNegativeInt = 0  # Ray actors that share each meta-update, each on its own GPU; 0 learns here
    cluster: Cluster | None = None  # that workers and learners run on: HOST:PORT of its head; auto: this machine's
    device: Device = "auto"  # what learns; auto: the GPU if there is one
    deterministic: bool = True  # on a GPU: the same bits in every run, by operations that may be slower
    family: str  # a listed one, module:Class or a YAML file
    task_in_observation: bool = False  # the oracle: its observations hold the task, the upper end of a comparison
    agent: Any  # the algorithm's own configuration
    agent_name: str = Field(exclude=True)
    init: str | None = None  # a run folder whose last weights to start from; None starts afresh
    train_tasks: PositiveInt | None = None  # fixed training tasks; None draws fresh ones each iteration
    curriculum: Curriculum = Curriculum()
    learner_threads: PositiveInt | Literal["auto"] = "auto"  # auto: all cores; part of the result, in the last bits
    sampling: Sampling = Sampling()
    evaluation: Evaluation = Evaluation()
    checkpoints: Checkpoints = Checkpoints()
    tensorboard: bool = False  # write event files into the run folder
    wandb: Literal["off", "offline", "online"] = "off"  # Weights & Biases; key: `wandb login` or WANDB_API_KEY
    wandb_project: str = "acclimate"  # project in Weights & Biases
    _algorithm: Algorithm = PrivateAttr()

    def model_post_init(self, context: Any) -> None:
        """Keep the algorithm that `agent_name` stands for."""
        self._algorithm = context

    @classmethod
    def load(cls, name: str | Path | None, overrides: Sequence[str] = (), *, quiet: bool = False) -> Recipe:
        """The checked recipe of this name or in this file, with `key=value` overrides (dots reach into sections).

        Without a name the overrides are all of it: `family=...` and `agent=...` are enough.

        Keys may be given by earlier names; one sentence on stderr says today's, unless `quiet`.

        Raises:
            RecipeError: it cannot be read, or a key or a value in it is not valid.
        """
        if name is None:
            return cls.of({}, overrides, where="the recipe, of the given keys alone", quiet=quiet)
        path = name if isinstance(name, Path) else loading.find(name)
        return cls.of(loading.with_family_beside(loading.read(path), path), overrides, where=str(path), quiet=quiet)

    @classmethod
    def of(
        cls, data: Mapping[str, Any], overrides: Sequence[str] = (), *, where: str = "the recipe", quiet: bool = False
    ) -> Recipe:
        """The checked recipe that this mapping stands for; `family` and `agent` are all that it needs.

        Args:
            data: keys as in a recipe's file.
            overrides: `key=value`, as on the command line.
            where: names the recipe in errors.
            quiet: say nothing of keys by earlier names.

        Raises:
            RecipeError: a key or a value in it is not valid.
            TaskError, AgentError: the agent cannot serve the family.
        """
        whole = loading.with_overrides(data, overrides)
        source = Source(where, overrides, _agent_name(whole, where), _agent_named(data), str(whole.get("family")))
        algorithm = registry.algorithm(source.agent)
        current, earlier = loading.in_todays_names(data, overrides, loading.translation(cls, algorithm.config))
        recipe = cls._checked(defaults.fitted(current, algorithm.config), source, algorithm)
        if not quiet:
            loading.say_todays_names(earlier)
            loading.say_set_twice(overrides, loading.translation(cls, algorithm.config))
        return recipe

    @classmethod
    def stored(cls, path: Path) -> Recipe:
        """The recipe in a run folder's config.yaml, where no default is left out but those of later versions' keys."""
        data, where = loading.read(path), str(path)
        algorithm = registry.algorithm(_agent_name(data, where))
        current, _ = loading.in_todays_names(data, (), loading.translation(cls, algorithm.config))
        return cls._checked(defaults.as_it_was(current, algorithm.config), Source(where), algorithm)

    def with_overrides(self, overrides: Sequence[str], where: str) -> Recipe:
        """The recipe of a run that is resumed, with overrides that do not make another run of it.

        Neither its file nor its algorithm is looked up again; `where` names the recipe in errors.
        """
        loading.refuse_another_run(overrides)
        translate = loading.translation(type(self), self.algorithm.config)
        current, earlier = loading.in_todays_names(self.to_data(), overrides, translate)
        recipe = self._checked(current, Source(where, overrides, self.agent_name), self.algorithm)
        loading.say_todays_names(earlier)
        return recipe

    @classmethod
    def _checked(cls, current: Mapping[str, Any], source: Source, algorithm: Algorithm) -> Recipe:
        name = _agent_name(current, source.where)
        agent = {key: value for key, value in current["agent"].items() if key != "name"}
        try:
            config = algorithm.config.model_validate(agent)
        except ValidationError as error:
            raise agent_refusal(error, cls, algorithm.config, source) from error
        try:
            whole = defaults.with_recipe_defaults(current, config)
            return cls.model_validate({**whole, "agent": config, "agent_name": name}, context=algorithm)
        except ValidationError as error:
            raise refusal(error, cls, algorithm.config, source) from error

    @property
    def algorithm(self) -> Algorithm:
        """The algorithm that `agent_name` stands for, resolved once a run: when the recipe was validated."""
        return self._algorithm

    @property
    def pipelined(self) -> bool:
        """Whether the next iteration is sampled while this one is learned, with the weights from before."""
        return self.algorithm.pipelined or self.sampling.overlap

    @field_validator("wandb", mode="before")
    @classmethod
    def _off_is_a_word(cls, value: Any) -> Any:
        """YAML 1.1 reads the word off as false, which is `Unusable` elsewhere."""
        return "off" if getattr(value, "given", value) is False else value

    @field_validator("cluster")
    @classmethod
    def _is_used(cls, cluster: str | None, known: ValidationInfo) -> str | None:
        if cluster is not None and known.data.get("workers") == known.data.get("learners") == 0:
            raise ValueError("workers: 0 and learners: 0 leave nothing to a cluster; set one of them, or cluster: null")
        return cluster

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
        return dump_yaml(self.to_data())


def _agent_name(data: Mapping[str, Any], where: str) -> str:
    """The name of the agent in a recipe; `where` names the recipe in errors."""
    if "agent_name" in data:
        raise RecipeError(f"{where}: there is no key agent_name; did you mean agent.name?")
    name = _agent_named(data)
    if name is not None:
        return name
    if "agent" not in data:
        near = [key for key in data if isinstance(key, str) and nearest(key, ["agent"]).startswith("did")]
        if near:
            raise RecipeError(f"{where}: there is no key {near[0]}; did you mean agent?")
        lacking = "the key agent is" if "family" in data else "the keys family and agent are"
        raise RecipeError(f"{where}: {lacking} missing; name an agent, such as agent: {min(ALGORITHMS)}, and a family")
    raise RecipeError(
        f"{where}: agent must be the name of an agent, or a section with a name and its own keys; agents are "
        f"{', '.join(ALGORITHMS)}"
    )


def _agent_named(data: Mapping[str, Any]) -> str | None:
    """The name of the agent in a recipe; None where there is none."""
    agent = loading.as_section("agent", data.get("agent"))
    name = agent.get("name") if isinstance(agent, Mapping) else None
    return name if isinstance(name, str) else None
