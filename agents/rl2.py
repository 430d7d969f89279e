"""RL^2: a memory that reads what happened learns to explore and adapt. Duan et al. 2016 (arXiv:1611.02779).

In reading order: configuration, the network (memory, actor, critic), the agent, the learner (PPO in
agents/common/ppo.py). The network's inputs at a step are in agents/nets/trial_inputs.py. The memory lives as long as
the trial: it is kept from episode to episode and new with each trial. See docs/algorithms/rl2.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import gymnasium
import numpy as np
import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from agents.common.in_context import InContextAgent, InContextConfig, InContextLearner, TrialState
from agents.common.ppo import PPO, Sequences
from agents.contract import AgentError, Algorithm, Interface, MetricInfo, TrialBatch, Weights
from agents.functional.parameters import Parameters, part, whole
from agents.nets.memories import GRUConfig, MemoryState
from agents.nets.memory_kinds import MemoryConfig, make_memory
from agents.nets.mlp import Activation, init_mlp, mlp
from agents.nets.policies import ActionStd, Distribution, make_policy
from agents.nets.trial_inputs import TrialInputs
from agents.team import compute_trials


class RL2Config(InContextConfig):
    """Defaults learn small control problems in minutes; docs/algorithms/rl2.md says what the paper had."""

    fitted: ClassVar[Mapping[str, str]] = {
        **InContextConfig.fitted,
        "bptt_steps": "50, and null for a memory that attends to the whole trial",
    }

    meta_batch_size: PositiveInt = 40  # N, fresh tasks of each iteration, one trial of each
    memory: MemoryConfig = GRUConfig()  # carries the trial's experience
    head_sizes: tuple[PositiveInt, ...] = ()  # hidden layers of actor and critic, each its own
    activation: Activation = "tanh"  # of the hidden layers
    initial_std: PositiveFloat = 0.7  # of continuous actions, in the policy's units
    min_std: PositiveFloat = 0.01  # floor of the standard deviation
    bptt_steps: PositiveInt | None = None  # length of truncated BPTT; None: the whole trial
    reward_offset: float = 0.0  # subtracted from rewards before they enter the network; learning is from the rewards
    reward_scale: PositiveFloat = 1.0  # factor on rewards before they enter the network
    # Beyond the paper, for discrete observations: the last (observation, action) as one one-hot vector, by itself and
    # times the reward; and an actor and a critic of its own for each observation.
    pair_inputs: bool = False  # Discrete observations: the last pair with the action as one input
    heads_per_observation: bool = False  # Discrete observations: own actor and critic of each

    @classmethod
    def fit(cls, interface: Interface, given: Mapping[str, Any]) -> dict[str, Any]:
        memory = given.get("memory")
        kind = memory.get("name", "gru") if isinstance(memory, Mapping) else memory or "gru"
        cut = kind not in ("transformer", "snail")
        return super().fit(interface, given) | {"bptt_steps": 50 if cut else None}


class Network:
    """Memory, actor and critic as pure functions of one dictionary of parameters."""

    def __init__(self, config: RL2Config, trial_inputs: TrialInputs) -> None:
        self.memory = make_memory(config.memory, trial_inputs.size, trial_inputs.trial_steps)
        self.policy = trial_inputs.policy
        self._activation = config.activation
        self._heads = trial_inputs.observation_size if config.heads_per_observation else 1
        inputs = self.memory.output_size + trial_inputs.observation_size
        self._actor = (inputs, *config.head_sizes, self._heads * self.policy.output_size)
        self._critic = (inputs, *config.head_sizes, self._heads)

    def init(self, generator: torch.Generator) -> Parameters:
        """Fresh parameters; the first policy hardly depends on anything."""
        parts = {
            "memory": self.memory.init(generator),
            "actor": init_mlp(self._actor, generator, last_scale=0.01) | self.policy.init_spread(),
            "critic": init_mlp(self._critic, generator, last_scale=0.1),
        }
        return whole(parts) | self.policy.init_encoder(generator)

    def heads(
        self, parameters: Mapping[str, Tensor], output: Tensor, observation: Tensor
    ) -> tuple[Distribution, Tensor]:
        """The policy's distribution and the value, at memory outputs [..., rows, H] and encoded observations."""
        features = torch.cat([output, observation], -1)
        actor, critic = part(parameters, "actor"), part(parameters, "critic")
        outputs = self._head(actor, self._actor, features, observation)
        value = self._head(critic, self._critic, features, observation)
        return self.policy.of_outputs(actor, outputs), value.squeeze(-1)

    def _head(self, parameters: Parameters, sizes: tuple[int, ...], features: Tensor, observation: Tensor) -> Tensor:
        outputs = mlp(parameters, len(sizes) - 1, self._activation, features)
        if self._heads == 1:
            return outputs
        by_head = outputs.unflatten(-1, (self._heads, -1))
        head = observation.argmax(-1)[..., None, None].expand(*by_head.shape[:-2], 1, by_head.shape[-1])
        return by_head.gather(-2, head).squeeze(-2)


@dataclass(frozen=True)
class RL2State(TrialState):
    """State of B trials: the trial's, and the memory's last output [B, H], 0 before the first step."""

    output: Tensor


class RL2Agent(InContextAgent[RL2State]):
    """Adapts at every step, by its memory alone."""

    def __init__(self, config: RL2Config, interface: Interface) -> None:
        self.config = config
        if config.heads_per_observation and not isinstance(interface.observation_space, gymnasium.spaces.Discrete):
            raise AgentError(
                f"heads_per_observation is for Discrete observations, not {interface.observation_space}; set it false"
            )
        policy = make_policy(
            interface.observation_space,
            interface.action_space,
            config.head_sizes,
            config.activation,
            ActionStd(config.initial_std, config.min_std, scaled=config.scale_actions),
        )
        self.trial_inputs = TrialInputs(
            policy,
            interface,
            config.episodes_per_trial * interface.episode_steps,
            reward_offset=config.reward_offset,
            reward_scale=config.reward_scale,
            pairs=config.pair_inputs,
        )
        self.network = Network(config, self.trial_inputs)
        if config.bptt_steps is not None and not self.network.memory.can_truncate:
            raise AgentError(
                f"a {config.memory.name} memory attends to the whole trial, so its gradients cannot be cut every "
                f"{config.bptt_steps} steps; set bptt_steps to null or choose a gru, lstm or external memory"
            )

    def begin_trial(self, weights: Weights, trials: int) -> RL2State:
        memory = self.network.memory.initial_state(part(weights, "memory"), trials)
        return RL2State(
            memory, self.trial_inputs.empty_last_step(trials), 0, torch.zeros(trials, self.network.memory.output_size)
        )

    def decide(
        self, weights: Weights, state: RL2State, observation: Tensor, inputs: Tensor
    ) -> tuple[Distribution, RL2State]:
        output, memory = self.network.memory.step(part(weights, "memory"), inputs, state.memory)
        distribution, _ = self.network.heads(weights, output, observation)
        return distribution, replace(state, memory=memory, output=output)

    def inspect(self, weights: Weights, state: RL2State) -> dict[str, np.ndarray]:
        attention = self.network.memory.attention(state.memory)
        weights_read = {f"attention/{name}": value.numpy() for name, value in attention.items()}
        return {"hidden_state": state.output.numpy()} | weights_read


class RL2Learner(InContextLearner):
    """Learns memory, actor and critic by PPO on whole trials."""

    agent: RL2Agent
    metrics: Mapping[str, MetricInfo] = PPO.metrics

    def __init__(self, agent: RL2Agent, config: RL2Config, seed: int, device: torch.device) -> None:
        self.config = config
        super().__init__(agent, config, agent.network.init(torch.Generator().manual_seed(seed)), device)
        self._ppo = PPO(config, self.parameters, agent.trial_inputs.policy, agent.trial_inputs.trial_steps, seed)

    def update(self, batch: TrialBatch) -> dict[str, float]:
        (trials,) = (one.by_trial() for one in batch)
        encoded = self.encode_trials(trials)
        inputs, observations = self._segments(encoded.inputs), self._segments(encoded.observation)
        value, state_C = self._values_and_states(inputs, observations)
        value = value[: len(encoded.valid)]
        advantage, target = self._ppo.advantages(value, encoded.reward, encoded.valid)
        sequences = Sequences(encoded.action, encoded.log_prob, advantage, target, encoded.valid)
        sequences = sequences.map(lambda tensor: torch.cat(self._segments(tensor), 1))
        input_LC, observation_LC = torch.cat(inputs, 1), torch.cat(observations, 1)  # C sequences: segments of trials

        def evaluate_actions(indices: Tensor) -> tuple[Distribution, Tensor]:
            state = {name: value[indices] for name, value in state_C.items()}
            return self._evaluate_actions(input_LC[:, indices], observation_LC[:, indices], state)

        metrics = self._ppo.update(sequences, evaluate_actions)
        with torch.no_grad():
            self.agent.trial_inputs.policy.project(part(self.parameters, "actor"))
        self.update_statistics(trials, self._ppo.updates - 1)
        return metrics

    def _segments(self, tensor: Tensor) -> list[Tensor]:
        """Split [L, B, ...] into segments of `bptt_steps`, the last one padded with zeros."""
        length = self.config.bptt_steps
        if length is None or length >= len(tensor):
            return [tensor]
        padding = -len(tensor) % length
        padded = torch.cat([tensor, tensor.new_zeros(padding, *tensor.shape[1:])])
        return list(padded.split(length))

    def _values_and_states(self, inputs: list[Tensor], observations: list[Tensor]) -> tuple[Tensor, MemoryState]:
        """Values [L, B] of all steps, and the hidden states [C, ...] that segments start from: gradients end there.

        Truncated BPTT: the hidden states are constants, computed once an update with the weights that acted.
        """
        network, memory = self.agent.network, part(self.parameters, "memory")

        def read_trials(trials: slice) -> Parameters:
            states, values = [network.memory.initial_state(memory, trials.stop - trials.start)], []
            for segment, observation in zip(inputs, observations, strict=True):
                encoded = network.policy.encoder(self.parameters, observation[:, trials])
                read = self.agent.trial_inputs.with_encoded(segment[:, trials], encoded)
                outputs, state = network.memory.sequence(memory, read, states[-1])
                values.append(network.heads(self.parameters, outputs, encoded)[1])
                states.append(state)
            starts = {name: torch.stack([state[name] for state in states[:-1]]) for name in states[0]}
            return {"value": torch.cat(values)} | whole({"state": starts})

        segments, (steps, trials) = len(inputs), inputs[0].shape[:2]
        fresh = network.memory.initial_state(memory, 1)
        shapes = {f"state/{name}": (segments, *value.shape[1:]) for name, value in fresh.items()}
        shapes["value"] = (segments * steps,)
        found = compute_trials(self.team, trials, self.parts(), shapes, read_trials)
        return found["value"], {name: state.flatten(0, 1) for name, state in part(found, "state").items()}

    def _evaluate_actions(self, inputs: Tensor, observation: Tensor, state: MemoryState) -> tuple[Distribution, Tensor]:
        """Action distributions and values of segments [L, C, ...] that start from these hidden states."""
        network = self.agent.network
        encoded = network.policy.encoder(self.parameters, observation)
        read = self.agent.trial_inputs.with_encoded(inputs, encoded)
        outputs, _ = network.memory.sequence(part(self.parameters, "memory"), read, state)
        return network.heads(self.parameters, outputs, encoded)


RL2 = Algorithm(RL2Config, RL2Agent, RL2Learner)
