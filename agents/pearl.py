"""PEARL: probabilistic embeddings for actor-critic meta-learning. Rakelly et al. 2019 (arXiv:1903.08254).

In reading order: configuration, the networks, the agent (acts on a sampled latent, infers it between episodes by a
context encoder), the learner (soft actor-critic on replay, the encoder learned with its critics).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from agents.common.replay import LatentBatches, TaskReplay
from agents.common.savepoints import savepoint_beside_replay
from agents.common.temperature import FixedTemperature, LearnedTemperature
from agents.contract import (
    AgentError,
    Algorithm,
    Config,
    Fraction,
    Interface,
    MetricInfo,
    Plan,
    Round,
    RoundBatch,
    TrialBatch,
    Weights,
    count_in,
)
from agents.functional.beliefs import gaussian_factors, natural_parameters, posterior
from agents.functional.ensembles import forward, layers_of
from agents.functional.latent_sac import LatentBatch, LatentSAC
from agents.functional.parameters import Parameters, part
from agents.functional.sac import squash
from agents.nets.ensembles import Vector
from agents.nets.latent_actor import LatentActor
from agents.nets.weights import check_adam, check_counts, check_shapes, take_weights
from agents.team import TeamMember, mean_of_parts

Sizes = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
ROLES = {"plan": 0, "update": 1}  # of the learner's random streams; never renumber


class PEARLConfig(Config):
    """Defaults learn small control problems in minutes; docs/algorithms/pearl.md says what the paper had."""

    renamed: ClassVar[Mapping[str, str]] = {
        "discount": "gamma",
        "target_rate": "tau",
        "replay_capacity": "buffer_size",
        "kl_weight": "kl_coef",
    }
    added: ClassVar[Mapping[str, Any]] = {"normalise_rewards": False}
    fitted: ClassVar[Mapping[str, str]] = {
        "initial_episodes": "as many as take 400 steps, 1 to 10",
        "gradient_steps": "one for every 10 steps of an iteration, 50 to 2000",
    }
    gradient_step_keys: ClassVar[tuple[str, ...]] = ("gradient_steps",)
    finer: ClassVar[str] = "a larger agent.microbatches"

    train_tasks: PositiveInt = 40  # fixed training tasks, as many as the recipe's train_tasks
    initial_episodes: PositiveInt = 2  # of each training task before the first update, latents from the prior
    held_exploration: bool = False  # until the first update an episode is one action, uniform in the space
    tasks_per_iteration: PositiveInt = 10  # of the training tasks, sampled in each later iteration
    prior_rounds: NonNegativeInt = 1  # first episodes of a trial, each with a latent from the prior
    posterior_rounds: NonNegativeInt = 1  # episodes of a training trial after the prior rounds
    # replay
    buffer_size: PositiveInt = 100_000  # transitions kept of a task
    context_capacity: PositiveInt = 400  # the newest transitions of a task; published: those of its last trial
    posterior_context: bool = False  # contexts are learned from posterior rounds too, not from prior rounds alone
    dense_reward: bool = False  # actor and critics learn from the family's privileged reward; contexts never do
    # networks
    latent_size: PositiveInt = 5  # entries of the latent task
    hidden_sizes: Sizes = (128, 128)  # layers of the policy and the critics
    encoder_sizes: Sizes = (128, 128)  # layers of the context encoder
    next_observation_in_context: bool = True  # it is seen by the encoder too
    normalise_observations: bool = True  # by mean and deviation of the initial episodes
    normalise_rewards: bool = True  # divided by their deviation there; `reward_scale` multiplies what is left
    # gradient steps
    gradient_steps: PositiveInt = 400  # of an iteration
    meta_batch_size: PositiveInt = 16  # tasks of a gradient step
    batch_size: PositiveInt = 32  # transitions of each of them for actor and critics
    context_size: PositiveInt = 64  # transitions of each of them for the encoder
    microbatches: PositiveInt = 1  # equal parts of the tasks that a step's gradient is the mean of; learners share them
    learning_rate: PositiveFloat = 1e-3  # of Adam, for all networks
    gamma: Fraction = 0.97  # discount of a step
    tau: Annotated[float, Field(gt=0, le=1)] = 0.005  # rate of the target critics' Polyak averages
    reward_scale: PositiveFloat = 1.0  # factor on rewards; the entropy counts beside it
    kl_coef: NonNegativeFloat = 0.05  # of the KL to the prior, mean over tasks; published: 0.1 of the sum over 16
    policy_regularisation: NonNegativeFloat = 0.0  # weight of squared means and log deviations
    # Weight of the policy's entropy.
    temperature: Annotated[FixedTemperature | LearnedTemperature, Field(discriminator="name")] = LearnedTemperature()

    @model_validator(mode="after")
    def _keys_fit(self) -> PEARLConfig:
        if max(self.meta_batch_size, self.tasks_per_iteration) > self.train_tasks:
            raise ValueError(
                f"meta_batch_size ({self.meta_batch_size}) and tasks_per_iteration ({self.tasks_per_iteration}) are "
                f"drawn from train_tasks, but these are {self.train_tasks}"
            )
        if self.meta_batch_size % self.microbatches:
            raise ValueError(f"microbatches ({self.microbatches}) must divide meta_batch_size ({self.meta_batch_size})")
        if not self.prior_rounds + self.posterior_rounds * self.posterior_context:
            raise ValueError("contexts are learned from prior rounds, but prior_rounds is 0; set posterior_context")
        return self

    @classmethod
    def fit(cls, interface: Interface, given: Mapping[str, Any]) -> dict[str, Any]:
        keys = "tasks_per_iteration", "prior_rounds", "posterior_rounds"
        tasks, prior, posterior = (count_in(given, key, cls.model_fields[key].default) for key in keys)
        steps = tasks * (prior + posterior) * interface.episode_steps
        initial = min(max(400 // interface.episode_steps, 1), 10)
        return {"initial_episodes": initial, "gradient_steps": min(max(steps // 10, 50), 2000)}

    def recipe_defaults(self) -> dict[str, Any]:
        return {
            "iterations": 40,
            "train_tasks": self.train_tasks,
            "sampling": {"tasks_per_shard": -(-self.tasks_per_iteration // 4)},
            "evaluation": {"rounds": self.prior_rounds + max(self.posterior_rounds, 1) - 1, "rollouts": 1},
        }

    def target_entropy(self, actions: int) -> float | None:
        """Target entropy of a learned temperature, nats; None where it is fixed."""
        if isinstance(self.temperature, FixedTemperature):
            return None
        target = self.temperature.target_entropy
        return -float(actions) if target is None else target


@dataclass(frozen=True)
class PEARLState:
    """State of B trials: the posterior's natural parameters, rounds so far, and the latent of the episode."""

    precision: Tensor  # [B, Z]
    weighted_mean: Tensor  # [B, Z]
    rounds: int = 0
    latent: Tensor | None = None  # [B, Z]; None until the episode's first action
    held_noise: Tensor | None = None  # [B, A], action noise of the episode's first step


class PEARLAgent:
    """Acts on a latent that is sampled once an episode: from the prior at first, then from the posterior."""

    def __init__(self, config: PEARLConfig, interface: Interface) -> None:
        self.config = config
        self.networks = LatentActor(
            interface,
            latent_size=config.latent_size,
            hidden_sizes=config.hidden_sizes,
            encoder_sizes=config.encoder_sizes,
            sees_next=config.next_observation_in_context,
        )

    def trial_rounds(self, adaptations: int, rollouts: int) -> tuple[Round, ...]:
        if rollouts != 1:
            raise AgentError(
                f"PEARL infers its task after every episode, so a round is 1 rollout, not {rollouts}; set "
                "evaluation.rollouts=1 and evaluation.repeats to how many trials of each task"
            )
        prior = min(self.config.prior_rounds, adaptations + 1)
        return (*[Round("prior", 1)] * prior, *[Round("posterior", 1)] * (adaptations + 1 - prior))

    def begin_trial(self, weights: Weights, trials: int) -> PEARLState:
        zeros = torch.zeros(trials, self.networks.latents)
        return PEARLState(zeros, zeros)

    def draw_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Noise of the action [A] and of the latent [Z]; only that of an episode's first step enters the latent."""
        return rng.standard_normal((*shape, self.networks.actions + self.networks.latents), dtype=np.float32)

    @torch.no_grad()
    def act(
        self, weights: Weights, state: PEARLState, observation: np.ndarray, noise: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, PEARLState]:
        nets, latent = self.networks, state.latent
        row_noise = torch.zeros(len(observation), nets.actions) if noise is None else torch.as_tensor(noise[:, 0])
        if latent is None:
            mean, variance = self.belief(state)
            latent = mean if noise is None else mean + variance.sqrt() * row_noise[:, nets.actions :]
            state = replace(state, latent=latent, held_noise=row_noise[:, : nets.actions])
        if weights["exploring"] and state.held_noise is not None and noise is not None:
            action = torch.erf(state.held_noise / math.sqrt(2))  # uniform, as the noise is normal
            log_prob = torch.full((len(action),), -nets.actions * math.log(2.0))
        else:
            normalised = nets.normalised(part(weights, "observation"), observation[:, 0])
            outputs = forward(layers_of(part(weights, "policy")), torch.cat((normalised, latent), -1))[-1][0]
            action, log_prob, *_ = squash(outputs, row_noise[:, : nets.actions])
        log_prob = log_prob - nets.half_range.log().sum()  # per unit of the family's space
        return nets.in_space(action).unsqueeze(1).numpy(), log_prob.unsqueeze(1).numpy(), state

    def belief(self, state: PEARLState) -> tuple[Tensor, Tensor]:
        """Mean and variance [B, Z] of the distribution that the next episode's latent is sampled from."""
        if state.rounds < self.config.prior_rounds:
            return torch.zeros_like(state.precision), torch.ones_like(state.precision)
        return posterior(state.precision, state.weighted_mean)

    def observe(self, weights: Weights, state: PEARLState, transition: Mapping[str, np.ndarray]) -> PEARLState:
        return state

    @torch.no_grad()
    def adapt(self, weights: Weights, state: PEARLState, batch: RoundBatch) -> PEARLState:
        """Adds the round's transitions to the context; the next action samples a new latent."""
        context = self.networks.context(part(weights, "observation"), batch)
        outputs = forward(layers_of(part(weights, "encoder")), context.flatten(0, 1))[-1].view(*context.shape[:2], -1)
        added = natural_parameters(gaussian_factors(outputs, torch.as_tensor(batch.valid).flatten(1)))
        return PEARLState(state.precision + added[0], state.weighted_mean + added[1], state.rounds + 1)

    def inspect(self, weights: Weights, state: PEARLState) -> dict[str, np.ndarray]:
        mean, variance = posterior(state.precision, state.weighted_mean)
        return {"posterior_mean": mean.numpy(), "posterior_variance": variance.numpy()}


class PEARLLearner(TeamMember):
    """Owns networks and replay buffers; actor and critics learn from replay, the encoder with the critics."""

    metrics: Mapping[str, MetricInfo] = {
        "critic_loss": MetricInfo("scaled reward²", "squared error of both critics, mean over the gradient steps"),
        "actor_loss": MetricInfo("scaled reward", "temperature times log-probability less value, mean over them"),
        "value": MetricInfo("scaled reward", "the smaller critic on the policy's own actions, mean over them"),
        "policy_entropy": MetricInfo("nats", "of actions in [-1, 1]", remedy="raise agent.temperature.value"),
        "temperature": MetricInfo("scaled reward/nat", "weight of the entropy, mean over them"),
        "kl_to_prior": MetricInfo("nats", "of posteriors given contexts of the context size, mean over them"),
        "replay_steps": MetricInfo("steps", "transitions in the replay of all training tasks"),
    }

    def __init__(self, agent: PEARLAgent, config: PEARLConfig, seed: int, device: torch.device) -> None:
        self.agent, self.config, self.networks = agent, config, agent.networks
        self._seed, self._updates = seed, 0
        nets, generator = agent.networks, torch.Generator().manual_seed(seed)
        policy, encoder, critics = (nets.init(name, generator) for name in ("policy", "encoder", "critics"))
        fixed = isinstance(config.temperature, FixedTemperature)
        temperature = {"log_temperature": torch.tensor(math.log(config.temperature.value))}
        self._vector = Vector(critics | policy | encoder | ({} if fixed else temperature), device)
        self._target_vector = Vector({f"targets/{name}": value for name, value in critics.items()}, device)
        self._statistics = nets.init_statistics(rewards=config.normalise_rewards)
        self._statistics_settled = False  # whether they were carried over from another run
        self.parameters: Parameters = {
            **{name: value.to(device) for name, value in temperature.items()},
            **self._vector.parameters,
            **self._target_vector.parameters,
            **{f"observation/{name}": value for name, value in self._statistics.items()},
            "exploring": torch.tensor(float(config.held_exploration)),
        }
        learned = ("policy", "encoder", "critics")
        self._layers = {name: layers_of(part(self.parameters, name)) for name in learned}
        self._layers["targets"] = layers_of(part(self.parameters, "targets/critics"))
        self._gradients = {name: layers_of(part(self._vector.gradients, name)) for name in learned}
        self._adam = torch.optim.Adam([self._vector.values], lr=config.learning_rate, fused=True)
        self._losses = LatentSAC(
            observations=nets.observations,
            actions=nets.actions,
            gamma=config.gamma,
            reward_scale=config.reward_scale,
            kl_coef=config.kl_coef,
            policy_regularisation=config.policy_regularisation,
            target_entropy=config.target_entropy(nets.actions),
        )
        width = 2 * nets.observations + nets.actions + 2
        self.replay = TaskReplay(config.train_tasks, width, config.buffer_size, device)
        self.contexts = TaskReplay(config.train_tasks, nets.context_width, config.context_capacity, device)
        sizes = config.meta_batch_size, config.batch_size, config.context_size
        self.batches = LatentBatches(self.replay, self.contexts, *sizes, nets.latents, nets.actions)

    def parts(self) -> int:
        return self.config.microbatches

    # -- what to sample

    def plan(self, iteration: int) -> Plan:
        config = self.config
        if iteration == 0:
            return Plan(tuple(range(config.train_tasks)), (Round("prior", 1),), config.initial_episodes)
        rng = self._generator("plan", iteration)
        tasks = rng.choice(config.train_tasks, config.tasks_per_iteration, replace=False)
        rounds = self.agent.trial_rounds(config.prior_rounds + config.posterior_rounds - 1, 1)
        return Plan(tuple(sorted(tasks.tolist())), rounds)

    def weights(self) -> dict[str, Tensor]:
        acting = ("policy/", "encoder/", "observation/", "exploring")
        chosen = {name: value for name, value in self.parameters.items() if name.startswith(acting)}
        return {name: value.cpu().clone() for name, value in chosen.items()}

    def policy_weights(self) -> dict[str, Tensor]:
        """Weights of the policy alone: before the first update those of `weights` may hold uniform actions instead."""
        return self.weights() | {"exploring": torch.tensor(0.0)}

    def _generator(self, role: str, count: int) -> np.random.Generator:
        return np.random.Generator(np.random.SFC64(np.random.SeedSequence((self._seed, ROLES[role], count))))

    # -- the update

    def update(self, batch: TrialBatch) -> dict[str, float]:
        before = self._vector.values.clone(), self._target_vector.values.clone()
        if self._updates == 0 and not self._statistics_settled:
            config = self.config
            self.networks.measure(self._statistics, batch, config.normalise_observations, config.normalise_rewards)
        self._store(batch)
        rng = self._generator("update", self._updates)
        steps = [self.gradient_step(one) for one in self.batches.draw(rng, self.config.gradient_steps)]
        metrics = {name: float(torch.stack([step[name] for step in steps]).mean()) for name in steps[0]}
        if not np.isfinite([*metrics.values()]).all():
            self._vector.values.copy_(before[0])
            self._target_vector.values.copy_(before[1])
            raise AgentError(
                f"update {self._updates}: a loss is not finite; the networks are those before it: lower "
                "agent.learning_rate or agent.reward_scale"
            )
        self._updates += 1
        self.parameters["exploring"].zero_()
        return metrics | {"replay_steps": int(self.replay.counts.sum())}

    def _store(self, batch: TrialBatch) -> None:
        """Add every step to its task's replay buffer, and those of context rounds to its buffer of contexts."""
        config = self.config
        for position, trials in enumerate(batch):
            in_context = position < config.prior_rounds or config.posterior_context
            for task, rows, contexts in self.networks.by_task(self._statistics, trials.by_trial(), config.dense_reward):
                self.replay.add(task, rows)
                if in_context:
                    self.contexts.add(task, contexts)

    def gradient_step(self, batch: LatentBatch) -> dict[str, Tensor]:
        """One gradient step of every network; returns metrics."""
        pieces = batch.split(self.config.microbatches)
        gradient, names = self._vector.gradient, tuple(self.metrics)[:-1]

        def of_piece(number: int) -> Tensor:
            metrics = self.compute_gradients(pieces[number])
            return torch.cat((gradient, torch.stack([metrics[name] for name in names])))

        mean = mean_of_parts(self.team, len(pieces), len(gradient) + len(names), of_piece)
        gradient.copy_(mean[: len(gradient)])
        self._adam.step()
        critics, targets = self._vector.values, self._target_vector.values
        targets.lerp_(critics[: len(targets)], self.config.tau)  # the critics come first in the vector
        return dict(zip(names, mean[len(gradient) :], strict=True))

    def compute_gradients(self, batch: LatentBatch) -> dict[str, Tensor]:
        """Write the gradients of all losses where the optimiser finds them."""
        log_temperature, into = self.parameters["log_temperature"], self._vector.gradients.get("log_temperature")
        return self._losses.compute_gradients(self._layers, self._gradients, log_temperature, into, batch)

    # -- checkpoints

    def load_weights(self, weights: Weights) -> None:
        """Start from the policy and encoder of another run, with its observation statistics: these stay as they are."""
        check_shapes(weights, self.weights())
        take_weights({name: self.parameters[name] for name in weights}, weights)
        self._statistics_settled = True

    def state_dict(self) -> dict[str, Any]:
        return self._small_state() | {"replay": self.replay.state_dict(), "contexts": self.contexts.state_dict()}

    def _small_state(self) -> dict[str, Any]:
        """The state without what is replayed."""
        return {
            "parameters": dict(self.parameters),
            "adam": self._adam.state_dict(),
            "seed": self._seed,
            "updates": self._updates,
            "statistics_settled": self._statistics_settled,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        check_counts(state, "seed", "updates")
        check_shapes(state["parameters"], self.parameters)
        check_adam(state["adam"], [self._vector.values])
        self.replay.check(state["replay"])
        self.contexts.check(state["contexts"])
        self._load_small_state(state)
        self.replay.load_state_dict(state["replay"])
        self.contexts.load_state_dict(state["contexts"])

    def _load_small_state(self, state: Mapping[str, Any]) -> None:
        take_weights(self.parameters, state["parameters"])
        self._adam.load_state_dict(state["adam"])
        self._seed, self._updates = state["seed"], state["updates"]
        self._statistics_settled = state.get("statistics_settled", False)  # absent from those of the first version

    def savepoint(self) -> Callable[[], None]:
        """A function that takes the learner back to this moment, until the next savepoint is made."""
        return savepoint_beside_replay(self._small_state(), self._load_small_state, (self.replay, self.contexts))


# Its first episodes explore under the prior; what the paper reports is the return once the posterior is inferred.
PEARL = Algorithm(PEARLConfig, PEARLAgent, PEARLLearner, pipelined=True, selected_by="last_return")
