"""PEARL: probabilistic embeddings for actor-critic meta-learning. Rakelly et al. 2019 (arXiv:1903.08254).

In reading order: configuration, the networks, the agent (acts on a sampled latent, infers it between episodes), the
learner (soft actor-critic on replay, the encoder learned with its critics). See docs/algorithms/pearl.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from agents.contract import (
    AgentError,
    Algorithm,
    Config,
    Interface,
    MetricInfo,
    Plan,
    Round,
    RoundBatch,
    TrialBatch,
    Weights,
)
from agents.functional.beliefs import factors, kl_to_prior, natural_parameters, posterior, posterior_gradient
from agents.functional.sac import (
    Squashed,
    actor_loss,
    bootstrap_target,
    critic_loss,
    squash,
    squash_gradient,
    temperature_gradient,
)
from agents.nets.ensembles import Layers, Vector, backward, forward, layers_of
from agents.nets.latent_actor import LatentActor, part
from agents.nets.policies import Parameters, check_shapes, take_weights
from agents.replay import TaskReplay

Fraction = Annotated[float, Field(ge=0, le=1)]
Sizes = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
ROLES = {"plan": 0, "update": 1}  # of the learner's random streams; never renumber


class FixedTemperature(Config):
    """As published: the entropy counts this much beside the scaled reward."""

    name: Literal["fixed"] = "fixed"
    value: PositiveFloat = 1.0


class LearnedTemperature(Config):
    """Moved until the policy has its target entropy. Haarnoja et al. 2018 (arXiv:1812.05905), section 5."""

    name: Literal["learned"] = "learned"
    initial: PositiveFloat = 1.0
    target_entropy: float | None = None  # nats, of actions in [-1, 1]; None is minus their number of entries


class PEARLConfig(Config):
    """Defaults are the reference implementation's for HalfCheetahVel."""

    # what is sampled
    train_tasks: PositiveInt = 100  # fixed training tasks, as many as the recipe's train_tasks
    initial_episodes: PositiveInt = 10  # of each training task before the first update, latents from the prior
    held_exploration: bool = False  # until the first update an episode is one action, uniform in the space
    tasks_per_iteration: PositiveInt = 5  # of them, sampled in each later iteration
    prior_rounds: NonNegativeInt = 2  # first episodes of a trial, each with a latent from the prior
    posterior_rounds: NonNegativeInt = 3  # episodes of a training trial after them
    # what is remembered
    replay_capacity: PositiveInt = 1_000_000  # transitions of a task
    context_capacity: PositiveInt = 400  # the newest transitions of a task; published: those of its last trial
    posterior_context: bool = False  # contexts are learned from posterior rounds too, not from prior rounds alone
    dense_reward: bool = False  # actor and critics learn from the family's privileged reward; contexts never do
    # what is learned
    latent_size: PositiveInt = 5
    hidden_sizes: Sizes = (300, 300, 300)  # of the policy and the critics
    encoder_sizes: Sizes = (200, 200, 200)
    next_observation_in_context: bool = False
    prior_factor: bool = False  # the prior is a factor of the posterior, so that transitions may say nothing
    normalise_observations: bool = False  # by mean and deviation of the initial episodes
    # how
    gradient_steps: PositiveInt = 2000  # of an iteration
    meta_batch_size: PositiveInt = 16  # tasks of a gradient step
    batch_size: PositiveInt = 256  # transitions of each of them for actor and critics
    context_size: PositiveInt = 100  # and for the encoder
    learning_rate: PositiveFloat = 3e-4
    discount: Fraction = 0.99
    target_rate: Annotated[float, Field(gt=0, le=1)] = 0.005  # of the target critics' Polyak averages
    reward_scale: PositiveFloat = 5.0
    kl_weight: NonNegativeFloat = 1.6  # of the mean over tasks; published: 0.1 of the sum over 16
    policy_regularisation: NonNegativeFloat = 1e-3  # of squared means and log deviations
    temperature: Annotated[FixedTemperature | LearnedTemperature, Field(discriminator="name")] = FixedTemperature()

    @model_validator(mode="after")
    def _keys_fit(self) -> PEARLConfig:
        if max(self.meta_batch_size, self.tasks_per_iteration) > self.train_tasks:
            raise ValueError(
                f"meta_batch_size ({self.meta_batch_size}) and tasks_per_iteration ({self.tasks_per_iteration}) are "
                f"drawn from train_tasks, but these are {self.train_tasks}"
            )
        if not self.prior_rounds + self.posterior_rounds * self.posterior_context:
            raise ValueError("contexts are learned from prior rounds, but prior_rounds is 0; set posterior_context")
        return self


@dataclass(frozen=True)
class State:
    """Of B trials: the posterior's natural parameters, the rounds behind, and the latent of the episode."""

    precision: Tensor  # [B, Z]
    weighted_mean: Tensor  # [B, Z]
    rounds: int = 0
    latent: Tensor | None = None  # [B, Z]; None until the episode's first action
    held: Tensor | None = None  # [B, A], noise of that action


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
            raise AgentError(f"PEARL infers its task after every episode, so a round is 1 rollout, not {rollouts}")
        prior = min(self.config.prior_rounds, adaptations + 1)
        return (*[Round("prior", 1)] * prior, *[Round("posterior", 1)] * (adaptations + 1 - prior))

    def begin_trial(self, weights: Weights, trials: int) -> State:
        nothing = torch.zeros(trials, self.networks.latents)
        return State(nothing, nothing)

    def draw_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Of the action [A] and of the latent [Z], which uses that of an episode's first step alone."""
        return rng.standard_normal((*shape, self.networks.actions + self.networks.latents), dtype=np.float32)

    @torch.no_grad()
    def act(
        self, weights: Weights, state: State, observation: np.ndarray, noise: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, State]:
        nets, latent = self.networks, state.latent
        given = torch.zeros(len(observation), nets.actions) if noise is None else torch.as_tensor(noise[:, 0])
        if latent is None:
            mean, variance = self.belief(state)
            latent = mean if noise is None else mean + variance.sqrt() * given[:, nets.actions :]
            state = replace(state, latent=latent, held=given[:, : nets.actions])
        if weights["exploring"] and state.held is not None and noise is not None:
            action = torch.erf(state.held / math.sqrt(2))  # uniform, as the noise is normal
            log_prob = torch.full((len(action),), -nets.actions * math.log(2.0))
        else:
            seen = nets.normalised(part(weights, "observation"), observation[:, 0])
            outputs = forward(layers_of(part(weights, "policy")), torch.cat((seen, latent), -1))[-1][0]
            action, log_prob, *_ = squash(outputs, given[:, : nets.actions])
        log_prob = log_prob - nets.half_range.log().sum()  # per unit of the family's space
        return nets.in_space(action).unsqueeze(1).numpy(), log_prob.unsqueeze(1).numpy(), state

    def belief(self, state: State) -> tuple[Tensor, Tensor]:
        """Mean and variance [B, Z] that the next episode's latent is drawn from."""
        if state.rounds < self.config.prior_rounds:
            return torch.zeros_like(state.precision), torch.ones_like(state.precision)
        return self.posterior(state)

    def posterior(self, state: State) -> tuple[Tensor, Tensor]:
        """Mean and variance [B, Z] given the trial so far."""
        return posterior(state.precision + self.config.prior_factor, state.weighted_mean)

    def observe(self, weights: Weights, state: State, transition: Mapping[str, np.ndarray]) -> State:
        return state

    @torch.no_grad()
    def adapt(self, weights: Weights, state: State, batch: RoundBatch) -> State:
        """Adds the round's transitions to the context; the next action samples a new latent."""
        context = self.networks.context(part(weights, "observation"), batch)
        outputs = forward(layers_of(part(weights, "encoder")), context.flatten(0, 1))[-1].view(*context.shape[:2], -1)
        valid = torch.as_tensor(batch.valid).flatten(1)
        more = natural_parameters(factors(outputs, valid, tells_precision=self.config.prior_factor))
        return State(state.precision + more[0], state.weighted_mean + more[1], state.rounds + 1)

    def inspect(self, weights: Weights, state: State) -> dict[str, np.ndarray]:
        mean, variance = self.posterior(state)
        return {"posterior_mean": mean.numpy(), "posterior_variance": variance.numpy()}


class Drawn(NamedTuple):
    """What a gradient step learns from: N tasks, C transitions of each for the encoder, T in all for the others."""

    context: Tensor  # [N, C, W]
    rows: Tensor  # [T, O + A + 2 + O]: observation, action, reward, terminated, next observation; task by task
    latent_noise: Tensor  # [N, Z]
    noise: Tensor  # [2 T, A], of actions at the observations, then at the next ones


class PEARLLearner:
    """Owns the networks and what is remembered; actor and critics learn from replay, the encoder with the critics."""

    metrics: Mapping[str, MetricInfo] = {
        "critic_loss": MetricInfo("scaled reward²", "squared error of both critics, mean over the gradient steps"),
        "actor_loss": MetricInfo("scaled reward", "temperature times log-probability less value, mean over them"),
        "value": MetricInfo(
            "scaled reward", "what the smaller critic says of the policy's own actions, mean over them"
        ),
        "policy_entropy": MetricInfo("nats", "of actions in [-1, 1], estimated from samples, mean over them"),
        "temperature": MetricInfo("scaled reward/nat", "weight of the entropy, mean over them"),
        "kl_to_prior": MetricInfo("nats", "of posteriors given contexts of the context size, mean over them"),
        "replay_steps": MetricInfo("steps", "transitions in the replay of all training tasks"),
    }

    def __init__(self, agent: PEARLAgent, config: PEARLConfig, seed: int, device: torch.device) -> None:
        self.agent, self.config, self.networks = agent, config, agent.networks
        self._seed, self._device, self._updates = seed, device, 0
        nets, generator = agent.networks, torch.Generator().manual_seed(seed)
        policy, encoder, critics = (nets.init(name, generator) for name in ("policy", "encoder", "critics"))
        chosen = config.temperature
        start = torch.tensor(math.log(chosen.initial if isinstance(chosen, LearnedTemperature) else chosen.value))
        learned = {"log_temperature": start} if isinstance(chosen, LearnedTemperature) else {}
        self._vector = Vector(critics | policy | encoder | learned, device)
        self._target_vector = Vector({f"targets/{name}": value for name, value in critics.items()}, device)
        self._log_temperature = self._vector.parameters.get("log_temperature", start.to(device))
        self._statistics = {"mean": torch.zeros(nets.observations), "scale": torch.ones(nets.observations)}
        self.parameters: Parameters = {
            **self._vector.parameters,
            **self._target_vector.parameters,
            **{f"observation/{name}": value for name, value in self._statistics.items()},
            "exploring": torch.tensor(float(config.held_exploration)),
        }
        self._layers: dict[str, Layers] = {
            name: layers_of(part(self.parameters, name)) for name in ("policy", "encoder", "critics", "targets/critics")
        }
        self._gradients = {
            name: layers_of(part(self._vector.gradients, name)) for name in ("policy", "encoder", "critics")
        }
        self._adam = torch.optim.Adam([self._vector.values], lr=config.learning_rate, fused=True)
        self.replay = TaskReplay(config.train_tasks, 2 * nets.observations + nets.actions + 2, config.replay_capacity)
        self.contexts = TaskReplay(config.train_tasks, nets.context_width, config.context_capacity)
        self._all = torch.ones(config.meta_batch_size, config.context_size, dtype=torch.bool, device=device)

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

    def _generator(self, role: str, count: int) -> np.random.Generator:
        return np.random.Generator(np.random.SFC64(np.random.SeedSequence((self._seed, ROLES[role], count))))

    # -- the update

    def update(self, batch: TrialBatch) -> dict[str, float]:
        learned = self._vector.values, self._target_vector.values
        before = [values.clone() for values in learned]
        if self._updates == 0 and self.config.normalise_observations:
            self._measure_observations(batch)
        self._remember(batch)
        rng = self._generator("update", self._updates)
        steps = torch.stack([self.gradient_step(rng) for _ in range(self.config.gradient_steps)]).mean(0)
        if not torch.isfinite(steps).all():
            for values, earlier in zip(learned, before, strict=True):
                values.copy_(earlier)
            raise AgentError(
                f"update {self._updates}: a loss is not finite; the networks are those before it: lower "
                "agent.learning_rate or agent.reward_scale"
            )
        self._updates += 1
        self.parameters["exploring"].zero_()
        told = dict(zip(self.metrics, steps.tolist(), strict=False))
        return told | {"replay_steps": int(self.replay.counts.sum())}

    def _measure_observations(self, batch: TrialBatch) -> None:
        seen = np.concatenate([one.observation[one.valid] for one in batch]).astype(np.float64)
        deviation = seen.std(0)
        self._statistics["mean"].copy_(torch.as_tensor(seen.mean(0)))
        self._statistics["scale"].copy_(torch.as_tensor(np.where(deviation > 1e-6, deviation, 1.0)))

    def _remember(self, batch: TrialBatch) -> None:
        """Puts every step into the replay of its task, and those that contexts are learned from into its contexts."""
        nets, config = self.networks, self.config
        for position, one in enumerate(trials.by_trial() for trials in batch):
            reward = one.dense_reward if config.dense_reward else one.reward
            if reward is None:
                raise AgentError("this family gives no dense reward to learn from; set agent.dense_reward to false")
            rows, context = nets.transitions(self._statistics, one, reward), nets.context(self._statistics, one)
            encoded = position < config.prior_rounds or config.posterior_context
            for task, valid, mine, shown in zip(one.task_id, one.valid, rows, context, strict=True):
                counted = torch.from_numpy(valid.reshape(-1))
                self.replay.add(int(task), mine[counted])
                if encoded:
                    self.contexts.add(int(task), shown[counted])

    def gradient_step(self, rng: np.random.Generator) -> Tensor:
        """One step of every network; returns the metrics, in the order of `metrics`."""
        told = self.differentiate(self.draw(rng))
        self._adam.step()
        critics, targets = self._vector.values, self._target_vector.values
        targets.lerp_(critics[: len(targets)], self.config.target_rate)  # the critics come first in the vector
        return told

    def draw(self, rng: np.random.Generator) -> Drawn:
        """What a gradient step learns from."""
        config, nets = self.config, self.networks
        tasks = rng.choice(config.train_tasks, config.meta_batch_size, replace=False)
        context = self.contexts.sample(tasks, config.context_size, rng)
        rows = self.replay.sample(tasks, config.batch_size, rng).flatten(0, 1)
        of_latent = rng.standard_normal((len(tasks), nets.latents), dtype=np.float32)
        of_action = rng.standard_normal((2 * len(rows), nets.actions), dtype=np.float32)
        drawn = (context, rows, torch.from_numpy(of_latent), torch.from_numpy(of_action))
        return Drawn(*(one.to(self._device) for one in drawn))

    @torch.no_grad()
    def differentiate(self, drawn: Drawn) -> Tensor:
        """Puts the gradients of all losses where the optimiser finds them, each by its own parameters alone."""
        config, nets, layers, into = self.config, self.networks, self._layers, self._gradients
        context, rows, latent_noise, noise = drawn
        count, taught = len(rows), nets.observations + nets.actions
        seen, told, following = rows[:, : nets.observations], rows[:, taught : taught + 2], rows[:, taught + 2 :]
        temperature = self._log_temperature.exp()

        # the latent of each task, from the posterior
        of_encoder = forward(layers["encoder"], context.flatten(0, 1))
        each = factors(of_encoder[-1].view(*context.shape[:2], -1), self._all, tells_precision=config.prior_factor)
        precision, weighted_mean = natural_parameters(each)
        mean, variance = posterior(precision + config.prior_factor, weighted_mean)
        std = variance.sqrt()
        latent = torch.addcmul(mean, std, latent_noise).repeat_interleave(config.batch_size, 0)
        twice = torch.cat((latent, latent))

        # the policy on what was seen, then on what followed
        of_policy = forward(layers["policy"], torch.cat((torch.cat((seen, following)), twice), -1))
        squashed = squash(of_policy[-1][0], noise)
        own, following_own = (Squashed(*parts) for parts in zip(*(one.split(count) for one in squashed), strict=True))

        # the critics on what was done, then on what the policy would do
        next_value = forward(layers["targets/critics"], torch.cat((following, following_own.action, latent), -1))[-1]
        target = bootstrap_target(
            config.reward_scale * told[:, 0],
            told[:, 1],
            next_value.squeeze(-1),
            following_own.log_prob,
            temperature,
            config.discount,
        )
        acted = torch.cat((rows[:, :taught], torch.cat((seen, own.action), -1)))
        of_critics = forward(layers["critics"], torch.cat((acted, twice), -1))
        value, own_value = of_critics[-1].squeeze(-1).split(count, 1)
        error, by_value = critic_loss(value, target)
        loss, by_own_value, by_log_prob = actor_loss(own_value, own.log_prob, temperature)
        by_values = torch.cat((by_value, by_own_value), 1).unsqueeze(-1)
        passed = backward(layers["critics"], of_critics, by_values, into["critics"], learned=count)
        first = layers["critics"][0][0]  # its rows are those of the critics' inputs

        # encoder: the critics' error by the latent, and the divergence from the prior
        divergence, by_mean, by_variance = kl_to_prior(mean, variance)
        of_task = passed[:, :count].unflatten(1, (len(mean), config.batch_size)).sum(2)
        by_latent = torch.bmm(of_task, first[:, taught:].mT).sum(0)
        weight = config.kl_weight / len(mean)
        by_mean = torch.add(by_latent, by_mean, alpha=weight)
        by_variance = torch.add(by_latent * latent_noise / (2.0 * std), by_variance, alpha=weight)
        by_outputs = posterior_gradient(each, mean, variance, by_mean, by_variance)
        backward(layers["encoder"], of_encoder, by_outputs.view_as(of_encoder[-1]), into["encoder"])

        # policy: the values of its own actions and their density
        by_action = torch.bmm(passed[:, count:], first[:, nets.observations : taught].mT).sum(0)
        by_outputs = squash_gradient(own, by_action, by_log_prob)
        weight = 2.0 * config.policy_regularisation / own.action.numel()
        of_seen = [one[:, :count] for one in of_policy]
        by_outputs = torch.add(by_outputs, of_seen[-1], alpha=weight)
        backward(layers["policy"], of_seen, by_outputs, into["policy"])
        if isinstance(config.temperature, LearnedTemperature):
            wanted = config.temperature.target_entropy
            wanted = -float(nets.actions) if wanted is None else wanted
            self._vector.gradients["log_temperature"].copy_(temperature_gradient(own.log_prob, wanted))
        means = (own_value.amin(0).mean(), -own.log_prob.mean(), temperature, divergence.mean())
        return torch.stack((error, loss, *means))

    # -- checkpoints

    def load_weights(self, weights: Weights) -> None:
        check_shapes(weights, self.weights())
        take_weights({name: self.parameters[name] for name in weights}, weights)

    def state_dict(self) -> dict[str, Any]:
        return {
            "parameters": dict(self.parameters),
            "adam": self._adam.state_dict(),
            "replay": self.replay.state_dict(),
            "contexts": self.contexts.state_dict(),
            "updates": self._updates,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if not isinstance(state["updates"], int) or state["updates"] < 0:
            raise AgentError(f"this checkpoint counts {state['updates']!r} updates; it is damaged")
        check_shapes(state["parameters"], self.parameters)
        for moment in state["adam"]["state"].values():
            if not moment["exp_avg"].shape == moment["exp_avg_sq"].shape == self._vector.values.shape:
                raise AgentError("this checkpoint's optimiser belongs to another policy; use its own recipe")
        self.replay.check(state["replay"])
        self.contexts.check(state["contexts"])
        take_weights(self.parameters, state["parameters"])
        self._adam.load_state_dict(state["adam"])
        self.replay.load_state_dict(state["replay"])
        self.contexts.load_state_dict(state["contexts"])
        self._updates = state["updates"]


PEARL = Algorithm(PEARLConfig, PEARLAgent, PEARLLearner, overlaps=True)
