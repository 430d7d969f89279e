"""VariBAD: the policy acts on a belief over tasks, which is learned by decoding the trial from it. Zintgraf et al. 2020
(arXiv:1910.08348).

In reading order: configuration, the networks (encoder, decoders, actor, critic), the agent, the learner (PPO on
observation and belief, agents/common/ppo.py; the evidence lower bound for encoder and decoders).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import gymnasium
import numpy as np
import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from agents.common.in_context import InContextAgent, InContextConfig, InContextLearner, TrialState
from agents.common.ppo import PPO, Sequences
from agents.common.replay import TrialReplay
from agents.common.savepoints import savepoint_beside_replay
from agents.contract import AgentError, Algorithm, Interface, MetricInfo, RoundBatch, TrialBatch, Weights
from agents.functional.elbo import decoding_weights, kl_to_previous, reparameterise, scaled_changes
from agents.functional.parameters import Parameters, part, whole
from agents.functional.schedules import linear_schedule
from agents.nets.decoders import Decoders, GaussianReward, RewardDecoder
from agents.nets.encoders import PART
from agents.nets.memories import GRUConfig
from agents.nets.memory_kinds import MemoryConfig, make_memory
from agents.nets.mlp import Activation, init_mlp, mlp
from agents.nets.policies import ActionStd, Distribution, make_policy
from agents.nets.statistics import REWARD, RunningStatistics
from agents.nets.trial_inputs import TrialInputs
from agents.nets.weights import check_adam, take_weights
from agents.team import compute_trials, take_gradient

LOG_VARIANCES = (-10.0, 4.0)  # of a belief
ENCODING = ("encoder", "belief", "decoder")  # what the evidence lower bound teaches
ITERATIONS = 90  # of runs whose recipe does not say
Belief = tuple[Tensor, Tensor]  # mean and log-variance, [..., D]
Numbers = tuple[PositiveInt, ...]


class VariBADConfig(InContextConfig):
    """Defaults learn small control problems in minutes; docs/algorithms/varibad.md says what the paper had."""

    added: ClassVar = {"decode_changes": False, "least_belief_scale": 0.0, "final_vae_learning_rate": None}
    renamed: ClassVar[Mapping[str, str]] = {"state_coefficient": "state_coef", "kl_coefficient": "kl_coef"}

    # Beliefs move under the policy while they are learned, so that it must settle in the end.
    learning_rate: PositiveFloat = 2e-3  # of Adam, for actor and critic
    final_learning_rate: PositiveFloat | None = 5e-5  # reached linearly; None keeps it constant
    decay_updates: PositiveInt = ITERATIONS  # until the final values; the recipe's iterations where it has them
    num_minibatches: PositiveInt = 32  # of each epoch, over all steps, or over trials with `policy_into_encoder`
    max_grad_norm: PositiveFloat = 2.0  # longer gradients are cut to it
    meta_batch_size: PositiveInt = 40  # N, fresh tasks of each iteration, one trial of each
    encoder: MemoryConfig = GRUConfig()  # memory that infers the task
    latent_size: PositiveInt = 5  # D, entries of the latent task
    policy_sizes: Numbers = (64, 64)  # hidden layers of actor and critic, each its own
    activation: Activation = "tanh"  # of the hidden layers
    initial_std: PositiveFloat = 0.7  # of continuous actions, in the policy's units
    min_std: PositiveFloat = 0.01  # floor of the standard deviation
    reward_offset: float = 0.0  # subtracted from rewards before they enter the encoder
    reward_scale: PositiveFloat = 1.0  # factor on the rest; Gaussian decoders predict rewards scaled so
    normalise_beliefs: bool = True  # by running mean and standard deviation, as inputs of the policy
    least_belief_scale: NonNegativeFloat = 1.0  # floor of that deviation, so that drift is not magnified; 0: none
    policy_into_encoder: bool = False  # whether the policy's gradients reach the encoder
    reward_decoder: RewardDecoder = GaussianReward()  # predicts rewards from the latent task
    decoder_sizes: Numbers = (64, 32)  # hidden layers of the decoders
    state_coef: NonNegativeFloat = 1.0  # weight of decoding the next observation; 0 builds no such decoder
    decode_changes: bool = True  # decode by how much it changes, normalised: hardly guessed without the task
    kl_coef: NonNegativeFloat = 0.01  # weight of the KL to the belief before
    vae_learning_rate: PositiveFloat = 1e-3  # of Adam, for encoder and decoders
    final_vae_learning_rate: PositiveFloat | None = 1e-4  # reached linearly; None keeps it constant
    vae_updates: PositiveInt = 4  # of encoder and decoders in each iteration
    vae_batch: PositiveInt = 15  # trials of each of these updates
    vae_trials: PositiveInt = 1000  # newest trials that are stored for them
    posteriors: PositiveInt | None = 20  # steps whose posterior decodes the trial, sampled anew; None: every step
    decoded: PositiveInt | None = 40  # steps that each decodes, sampled anew; None: the whole trial, past and future

    def recipe_defaults(self) -> dict[str, Any]:
        return super().recipe_defaults() | {"iterations": ITERATIONS}


class Networks:
    """Encoder, decoders, actor and critic as pure functions of one dictionary of parameters."""

    def __init__(self, config: VariBADConfig, trial_inputs: TrialInputs) -> None:
        self.policy, self._activation = trial_inputs.policy, config.activation
        self.memory = make_memory(config.encoder, trial_inputs.size, trial_inputs.trial_steps)
        self.decoders = Decoders(
            config.latent_size,
            trial_inputs.observation_size,
            trial_inputs.policy.output_size,
            config.decoder_sizes,
            config.reward_decoder,
            next_observations=config.state_coef > 0,
        )
        self._belief = (self.memory.output_size, 2 * config.latent_size)
        inputs = trial_inputs.observation_size + 2 * config.latent_size
        self._actor = (inputs, *config.policy_sizes, trial_inputs.policy.output_size)
        self._critic = (inputs, *config.policy_sizes, 1)

    def init(self, generator: torch.Generator) -> Parameters:
        """Fresh parameters."""
        parts = {
            "encoder": self.memory.init(generator),
            "belief": init_mlp(self._belief, generator, last_scale=1.0),
            "actor": init_mlp(self._actor, generator, last_scale=0.01) | self.policy.init_spread(),
            "critic": init_mlp(self._critic, generator, last_scale=0.1),
            "decoder": self.decoders.init(generator),
        }
        return whole(parts) | self.policy.init_encoder(generator)

    def belief(self, parameters: Mapping[str, Tensor], output: Tensor) -> Belief:
        """Mean and log-variance [..., D] at the encoder's outputs [..., rows, H]."""
        mean, log_variance = mlp(part(parameters, "belief"), 1, "tanh", output).chunk(2, -1)
        return mean, log_variance.clamp(*LOG_VARIANCES)

    def heads(
        self, parameters: Mapping[str, Tensor], observation: Tensor, belief: Belief
    ) -> tuple[Distribution, Tensor]:
        """The policy's distribution and the value at encoded observations [..., rows, E]."""
        beliefs = RunningStatistics.normalise(parameters, torch.cat(belief, -1), "believed")
        features = torch.cat([observation, beliefs], -1)
        actor, critic = part(parameters, "actor"), part(parameters, "critic")
        outputs = mlp(actor, len(self._actor) - 1, self._activation, features)
        value = mlp(critic, len(self._critic) - 1, self._activation, features)
        return self.policy.of_outputs(actor, outputs), value.squeeze(-1)


@dataclass(frozen=True)
class VariBADState(TrialState):
    """State of B trials: the trial's, and the belief."""

    belief: Belief


class VariBADAgent(InContextAgent[VariBADState]):
    """Updates its belief at every step and acts on it."""

    def __init__(self, config: VariBADConfig, interface: Interface) -> None:
        self.config = config
        policy = make_policy(
            interface.observation_space,
            interface.action_space,
            config.policy_sizes,
            config.activation,
            ActionStd(config.initial_std, config.min_std, scaled=config.scale_actions),
        )
        self.trial_inputs = TrialInputs(
            policy,
            interface,
            config.episodes_per_trial * interface.episode_steps,
            reward_offset=config.reward_offset,
            reward_scale=config.reward_scale,
        )
        discrete = isinstance(interface.observation_space, gymnasium.spaces.Discrete)
        if config.reward_decoder.per_observation and not discrete:
            raise AgentError(
                "reward_decoder.per_observation is for Discrete observations, not for "
                f"{interface.observation_space}; set it false"
            )
        self.networks = Networks(config, self.trial_inputs)

    def begin_trial(self, weights: Weights, trials: int) -> VariBADState:
        memory = self.networks.memory.initial_state(part(weights, "encoder"), trials)
        prior = torch.zeros(trials, self.config.latent_size)  # mean 0, log-variance 0
        return VariBADState(memory, self.trial_inputs.empty_last_step(trials), 0, (prior, prior))

    def decide(
        self, weights: Weights, state: VariBADState, observation: Tensor, inputs: Tensor
    ) -> tuple[Distribution, VariBADState]:
        output, memory = self.networks.memory.step(part(weights, "encoder"), inputs, state.memory)
        belief = self.networks.belief(weights, output)
        distribution, _ = self.networks.heads(weights, observation, belief)
        return distribution, replace(state, memory=memory, belief=belief)

    def inspect(self, weights: Weights, state: VariBADState) -> dict[str, np.ndarray]:
        mean, log_variance = state.belief
        return {"belief_mean": mean.numpy(), "belief_deviation": (0.5 * log_variance).exp().numpy()}


class VariBADLearner(InContextLearner):
    """Learns actor and critic by PPO, encoder and decoders by the evidence lower bound over stored trials."""

    agent: VariBADAgent
    metrics: Mapping[str, MetricInfo] = {
        **PPO.metrics,
        "elbo": MetricInfo(
            "", "evidence lower bound of a trial, mean over its posteriors, negated loss of the encoder"
        ),
        "reward_error": MetricInfo("", "what decoding a step's reward costs: squared error, or nats"),
        "state_error": MetricInfo("", "squared error of decoding a next observation; 0 without that decoder"),
        "belief_kl": MetricInfo("nats", "KL of a posterior from the one before it, mean over steps"),
    }

    def __init__(self, agent: VariBADAgent, config: VariBADConfig, seed: int, device: torch.device) -> None:
        self.config = config
        believed = RunningStatistics(2 * config.latent_size, device, "believed", floor=config.least_belief_scale)
        self._belief_statistics = believed if config.normalise_beliefs else None
        super().__init__(agent, config, agent.networks.init(torch.Generator().manual_seed(seed)), device)
        acting = ("actor", "critic", PART, *(("encoder", "belief") if config.policy_into_encoder else ()))
        self._ppo = PPO(config, self._of(acting), agent.trial_inputs.policy, agent.trial_inputs.trial_steps, seed)
        self._vae = torch.optim.Adam(list(self._of(ENCODING).values()), lr=config.vae_learning_rate, fused=True)
        self._trials = TrialReplay(config.vae_trials)  # that the encoder learns from

    def _of(self, parts: tuple[str, ...]) -> Parameters:
        return {name: value for name, value in self.parameters.items() if name.partition("/")[0] in parts}

    # -- the meta-update

    def update(self, batch: TrialBatch) -> dict[str, float]:
        (trials,) = (one.by_trial() for one in batch)
        before = {name: value.detach().clone() for name, value in self.parameters.items()}
        metrics, beliefs = self._policy_update(trials)
        self._store(trials)
        metrics |= self._encoder_update()
        if not np.isfinite(list(metrics.values())).all():
            take_weights(self.parameters, before)
            raise AgentError(
                f"meta-update {self._ppo.updates - 1}: the evidence lower bound ({metrics['elbo']}) is not finite; the "
                "parameters are those before it: lower agent.vae_learning_rate"
            )
        self.update_statistics(trials, self._ppo.updates - 1)
        if self._belief_statistics:
            self._belief_statistics.update(beliefs, self._ppo.updates - 1)
        return metrics

    def _policy_update(self, trials: RoundBatch) -> tuple[dict[str, float], Tensor]:
        """Update actor and critic; return metrics and the beliefs [steps, 2 D] that the policy acted on."""
        agent, encoded = self.agent, self.encode_trials(trials)
        parameters = {**self.parameters, **self.statistics_tensors()}
        encode, heads = agent.trial_inputs.policy.encoder, agent.networks.heads

        def read(chosen: Tensor | slice) -> tuple[Tensor, Belief]:
            observed = encode(parameters, encoded.observation[:, chosen])
            return observed, self._beliefs(agent.trial_inputs.with_encoded(encoded.inputs[:, chosen], observed))

        def acted_on(chosen: slice) -> Parameters:
            observed, belief = read(chosen)
            return {"value": heads(parameters, observed, belief)[1], "belief": torch.cat(belief, -1)}

        steps, count = encoded.valid.shape
        shapes = {"value": (steps,), "belief": (steps, 2 * self.config.latent_size)}
        value, belief = compute_trials(self.team, count, self.parts(), shapes, acted_on).values()
        advantage, target = self._ppo.advantages(value, encoded.reward, encoded.valid)
        sequences = Sequences(encoded.action, encoded.log_prob, advantage, target, encoded.valid)
        believed = belief[encoded.valid]
        if self.config.policy_into_encoder:

            def evaluate_actions(indices: Tensor) -> tuple[Distribution, Tensor]:
                return heads(parameters, *read(indices))

        else:  # beliefs are constants: every step is a sequence of its own, and minibatches mix those of all trials
            sequences = sequences.map(lambda tensor: tensor[encoded.valid][None])
            observation = encoded.observation[encoded.valid]

            def evaluate_actions(indices: Tensor) -> tuple[Distribution, Tensor]:
                mean, log_variance = believed[None, indices].chunk(2, -1)
                return heads(parameters, encode(parameters, observation[None, indices]), (mean, log_variance))

        metrics = self._ppo.update(sequences, evaluate_actions)
        with torch.no_grad():
            agent.trial_inputs.policy.project(part(self.parameters, "actor"))
        return metrics, believed

    def _beliefs(self, inputs: Tensor) -> Belief:
        """Beliefs after each step of whole trials, [L, B, D]."""
        networks, encoder = self.agent.networks, part(self.parameters, "encoder")
        outputs, _ = networks.memory.sequence(encoder, inputs, networks.memory.initial_state(encoder, inputs.shape[1]))
        return networks.belief(self.parameters, outputs)

    # -- encoder and decoders

    def _store(self, trials: RoundBatch) -> None:
        """Keep trials for the encoder's updates; observations are not normalised yet, for their statistics change."""
        encode, trial_inputs = self.agent.trial_inputs.policy.encode, self.agent.trial_inputs
        new = {
            "observation": encode(trials.observation[:, 0]),
            "next_observation": encode(trials.next_observation[:, 0]),
            "action": trial_inputs.encode_action(trials.action[:, 0]),
            "reward": trial_inputs.encode_reward(trials.reward[:, 0]),
            "ended": torch.as_tensor(trials.terminated | trials.truncated)[:, 0].float(),
            "valid": torch.as_tensor(trials.valid)[:, 0],
        }
        new["decoded_reward"] = self.config.reward_decoder.target(torch.as_tensor(trials.reward[:, 0]), new["reward"])
        self._trials.add(new)

    def _encoder_update(self) -> dict[str, float]:
        """Some gradient steps of encoder and decoders on stored trials; returns metrics."""
        generator = torch.Generator().manual_seed(self._ppo.seed * 1_000_003 + self._ppo.updates)
        rates = self.config.vae_learning_rate, self.config.final_vae_learning_rate
        self._vae.param_groups[0]["lr"] = linear_schedule(*rates, self._ppo.updates - 1, self.config.decay_updates)
        mean_terms = torch.zeros(4, device=self.device)
        for _ in range(self.config.vae_updates):
            indices = torch.randperm(len(self._trials), generator=generator)[: self.config.vae_batch]
            batch = {name: value.transpose(0, 1) for name, value in self._trials.select(indices).items()}
            terms = self._take_elbo_gradient(batch, generator)
            torch.nn.utils.clip_grad_norm_(self._vae.param_groups[0]["params"], 10.0)
            self._vae.step()
            mean_terms += terms / self.config.vae_updates
        return dict(zip(("elbo", "reward_error", "state_error", "belief_kl"), mean_terms.tolist(), strict=True))

    def _take_elbo_gradient(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        """Leave the gradient of the negated evidence lower bound where the optimiser finds it; returns its terms.

        Of stored trials [L, B, ...]. Each chosen posterior decodes the same chosen steps, past and future (section
        3.1); sums over the trial, means over trials and posteriors. With fewer steps chosen, their sum is scaled up to
        that of all.
        """
        config, decoders = self.config, self.agent.networks.decoders
        steps, trials = batch["valid"].shape
        observation, next_observation, inputs = self._encoder_inputs(batch)
        action, valid = batch["action"].to(self.device), batch["valid"].to(self.device)
        posterior_steps = self._sample_steps(steps, config.posteriors, generator)
        decoded_steps = self._sample_steps(steps, config.decoded, generator)
        noise = torch.randn(len(posterior_steps), trials, config.latent_size, generator=generator).to(self.device)
        target = batch["decoded_reward"]
        if config.reward_decoder.in_reward_units:
            target = RunningStatistics.normalise_numbers(self.statistics_tensors(), target, REWARD)
        following = next_observation
        if config.state_coef and config.decode_changes:
            following = scaled_changes(observation, next_observation, valid, RunningStatistics.CLIP)
        at_steps = torch.cat([observation, action], -1), next_observation, following, target.to(self.device)
        weight = decoding_weights(valid, posterior_steps, decoded_steps)
        length = valid.sum(0).float().mean()
        by_trial = [weight.movedim(-1, 1), noise, inputs, valid, *(tensor[decoded_steps] for tensor in at_steps)]
        count = min(config.microbatches, trials)
        pieces = list(zip(*(tensor.tensor_split(count, 1) for tensor in by_trial), strict=True))

        def of_piece(number: int) -> tuple[Tensor, Tensor]:
            weight, noise, inputs, valid, before, after, following, target = pieces[number]
            mean, log_variance = self._beliefs(inputs)
            kl = (kl_to_previous(mean, log_variance) * valid).sum(0).sum() / trials
            latent = reparameterise(mean[posterior_steps], log_variance[posterior_steps], noise)
            decoder = part(self.parameters, "decoder")
            reward_cost = (weight.movedim(1, -1) * decoders.reward_cost(decoder, latent, before, after, target)).sum()
            state_cost = torch.zeros_like(reward_cost)
            if config.state_coef:
                state_cost = (weight.movedim(1, -1) * decoders.next_cost(decoder, latent, before, following)).sum()
            loss = reward_cost + config.state_coef * state_cost + config.kl_coef * kl
            terms = torch.stack([-loss, reward_cost / length, state_cost / length, kl / length])
            return loss, terms.detach()

        return take_gradient(self.team, self._of(ENCODING), count, of_piece, terms=4)

    def _encoder_inputs(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Encoded observations and next ones [L, B, E] of stored trials, and the memory's inputs [L, B, I].

        They are constants here: images are encoded by what the policy has learned, which decoders neither move nor see
        past.
        """
        statistics, encode = self.statistics_tensors(), self.agent.trial_inputs.policy.encoder
        with torch.no_grad():
            observation, next_observation = (
                encode(self.parameters, RunningStatistics.normalise(statistics, batch[name]).to(self.device))
                for name in ("observation", "next_observation")
            )
        reward = RunningStatistics.normalise_numbers(statistics, batch["reward"], REWARD)
        named = {"action": batch["action"], "reward": reward, "ended": batch["ended"]}
        step = {name: value.to(self.device) for name, value in named.items()}
        last = {name: torch.cat([torch.zeros_like(value[:1]), value[:-1]]) for name, value in step.items()}
        time = torch.arange(len(observation), device=self.device)[:, None]
        return observation, next_observation, self.agent.trial_inputs.step_inputs(observation, last, time)

    def _sample_steps(self, steps: int, count: int | None, generator: torch.Generator) -> Tensor:
        """Indices of `count` random steps in order; of all where it is None."""
        order = torch.arange(steps) if count is None else torch.randperm(steps, generator=generator)[:count].sort()[0]
        return order.to(self.device)

    # -- checkpoints

    def running_statistics(self) -> list[RunningStatistics]:
        return super().running_statistics() + ([self._belief_statistics] if self._belief_statistics else [])

    def state_dict(self) -> dict[str, Any]:
        return self._small_state() | {"trials": self._trials.state_dict()}

    def _small_state(self) -> dict[str, Any]:
        """The state without the kept trials."""
        return super().state_dict() | {"vae": self._vae.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        check_adam(state["vae"], self._vae.param_groups[0]["params"])
        self._load_small_state(state)
        self._trials.load_state_dict(state["trials"])

    def _load_small_state(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._vae.load_state_dict(state["vae"])

    def savepoint(self) -> Callable[[], None]:
        """A function that takes the learner back to this moment, until the next savepoint is made."""
        return savepoint_beside_replay(self._small_state(), self._load_small_state, (self._trials,))


VARIBAD = Algorithm(VariBADConfig, VariBADAgent, VariBADLearner)
