"""RL^2: a memory that reads what happened learns to explore and adapt. Duan et al. 2016 (arXiv:1611.02779).

In reading order: configuration, the network (memory, actor, critic), the agent, the learner (PPO in
agents/common/ppo.py). The network's inputs at a step are in agents/nets/trial_inputs.py. The memory lives as long as
the trial: it is kept from episode to episode and new with each trial. See docs/algorithms/rl2.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np
import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from agents.common.in_context import InContextAgent, InContextConfig, InContextLearner, State
from agents.common.ppo import PPO, Sequences
from agents.contract import AgentError, Algorithm, Interface, MetricInfo, TrialBatch, Weights
from agents.functional.parameters import Parameters, part, whole
from agents.nets.memories import GRUConfig, MemoryState
from agents.nets.memory_kinds import MemoryConfig, make_memory
from agents.nets.mlp import Activation, init_mlp, mlp
from agents.nets.policies import Distribution, make_policy
from agents.nets.trial_inputs import Reader


class RL2Config(InContextConfig):
    """Defaults suit small problems; docs/algorithms/rl2.md says what the paper had."""

    meta_batch_size: PositiveInt = 200  # N, fresh tasks of each iteration, one trial of each
    memory: MemoryConfig = GRUConfig()
    head_sizes: tuple[PositiveInt, ...] = ()  # hidden layers of actor and critic, each its own
    activation: Activation = "tanh"
    initial_std: PositiveFloat = 1.0  # of continuous actions, in the family's units
    min_std: PositiveFloat = 1e-3
    bptt_steps: PositiveInt | None = None  # gradients flow within pieces of so many steps; None: the whole trial
    reward_offset: float = 0.0  # subtracted from rewards before the network reads them; learning is from the rewards
    reward_scale: PositiveFloat = 1.0  # and what is left is multiplied by this
    # Beyond the paper, for discrete observations: the last (observation, action) as one word, by itself and times the
    # reward; and actor and critic of their own for each observation.
    pair_inputs: bool = False
    heads_per_observation: bool = False


class Network:
    """Memory, actor and critic as pure functions of one dictionary of parameters."""

    def __init__(self, config: RL2Config, reader: Reader) -> None:
        self.memory = make_memory(config.memory, reader.size, reader.trial_steps)
        self.policy = reader.policy
        self._activation = config.activation
        self._kinds = reader.observations if config.heads_per_observation else 1
        inputs = self.memory.output_size + reader.observations
        self._actor = (inputs, *config.head_sizes, self._kinds * self.policy.outputs)
        self._critic = (inputs, *config.head_sizes, self._kinds)

    def init(self, generator: torch.Generator) -> Parameters:
        """Fresh parameters; the first policy hardly depends on anything."""
        parts = {
            "memory": self.memory.init(generator),
            "actor": init_mlp(self._actor, generator, last_scale=0.01) | self.policy.init_spread(),
            "critic": init_mlp(self._critic, generator, last_scale=0.1),
        }
        return whole(parts)

    def heads(
        self, parameters: Mapping[str, Tensor], output: Tensor, observation: Tensor
    ) -> tuple[Distribution, Tensor]:
        """The policy's distribution and the value, at memory outputs [..., rows, H]."""
        features = torch.cat([output, observation], -1)
        actor, critic = part(parameters, "actor"), part(parameters, "critic")
        outputs = self._head(actor, self._actor, features, observation)
        value = self._head(critic, self._critic, features, observation)
        return self.policy.of_outputs(actor, outputs), value.squeeze(-1)

    def _head(self, parameters: Parameters, sizes: tuple[int, ...], features: Tensor, observation: Tensor) -> Tensor:
        outputs = mlp(parameters, len(sizes) - 1, self._activation, features)
        if self._kinds == 1:
            return outputs
        each = outputs.unflatten(-1, (self._kinds, -1))
        which = observation.argmax(-1)[..., None, None].expand(*each.shape[:-2], 1, each.shape[-1])
        return each.gather(-2, which).squeeze(-2)


@dataclass(frozen=True)
class Remembering(State):
    """And what the memory said last: [B, H], 0 before the first step."""

    output: Tensor


class RL2Agent(InContextAgent[Remembering]):
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
            initial_std=config.initial_std,
            min_std=config.min_std,
        )
        self.reader = Reader(
            policy,
            interface,
            config.episodes_per_trial * interface.episode_steps,
            reward_offset=config.reward_offset,
            reward_scale=config.reward_scale,
            pairs=config.pair_inputs,
        )
        self.network = Network(config, self.reader)
        if config.bptt_steps is not None and not self.network.memory.cuts:
            raise AgentError(
                f"a {config.memory.name} memory attends to the whole trial, so its gradients cannot be cut every "
                f"{config.bptt_steps} steps; set bptt_steps to null or choose a gru, lstm or external memory"
            )

    def begin_trial(self, weights: Weights, trials: int) -> Remembering:
        memory = self.network.memory.start(part(weights, "memory"), trials)
        return Remembering(memory, self.reader.start(trials), 0, torch.zeros(trials, self.network.memory.output_size))

    def decide(
        self, weights: Weights, state: Remembering, observation: Tensor, inputs: Tensor
    ) -> tuple[Distribution, Remembering]:
        output, memory = self.network.memory.step(part(weights, "memory"), inputs, state.memory)
        distribution, _ = self.network.heads(weights, output, observation)
        return distribution, replace(state, memory=memory, output=output)

    def inspect(self, weights: Weights, state: Remembering) -> dict[str, np.ndarray]:
        attention = self.network.memory.attention(state.memory)
        told = {f"attention/{name}": value.numpy() for name, value in attention.items()}
        return {"hidden_state": state.output.numpy()} | told


class RL2Learner(InContextLearner):
    """Learns memory, actor and critic by PPO on whole trials."""

    agent: RL2Agent
    metrics: Mapping[str, MetricInfo] = PPO.metrics

    def __init__(self, agent: RL2Agent, config: RL2Config, seed: int, device: torch.device) -> None:
        self.config = config
        super().__init__(agent, config, agent.network.init(torch.Generator().manual_seed(seed)), device)
        self._ppo = PPO(config, self.parameters, agent.reader.policy, agent.reader.trial_steps, seed)

    def update(self, batch: TrialBatch) -> dict[str, float]:
        (trials,) = (one.by_trial() for one in batch)
        read = self.read(trials)
        pieces, states = self._pieces(read.inputs)
        with torch.no_grad():
            value = torch.cat(
                [
                    self._judge(one, seen, state)[1]
                    for one, seen, state in zip(pieces, self._cut(read.observation), states, strict=True)
                ]
            )[: len(read.valid)]
        advantage, target = self._ppo.advantages(value, read.reward, read.valid)
        sequences = Sequences(read.action, read.log_prob, advantage, target, read.valid).map(self._stacked)
        inputs, observation = torch.cat(pieces, 1), self._stacked(read.observation)
        before = {name: torch.cat([state[name] for state in states]) for name in states[0]}

        def judge(which: Tensor) -> tuple[Distribution, Tensor]:
            state = {name: value[which] for name, value in before.items()}
            return self._judge(inputs[:, which], observation[:, which], state)

        told = self._ppo.update(sequences, judge)
        with torch.no_grad():
            self.agent.reader.policy.project(part(self.parameters, "actor"))
        self.follow(trials, self._ppo.updates - 1)
        return told

    def _pieces(self, inputs: Tensor) -> tuple[list[Tensor], list[MemoryState]]:
        """The inputs cut for truncated backpropagation, and the memory's state where each piece begins."""
        parameters = part(self.parameters, "memory")
        pieces = self._cut(inputs)
        states = [self.agent.network.memory.start(parameters, inputs.shape[1])]
        with torch.no_grad():
            for piece in pieces[:-1]:
                states.append(self.agent.network.memory.sequence(parameters, piece, states[-1])[1])
        return pieces, states

    def _cut(self, one: Tensor) -> list[Tensor]:
        """[L, B, ...] in pieces of bptt_steps, the last one padded with zeros."""
        size = self.config.bptt_steps
        if size is None or size >= len(one):
            return [one]
        lacking = -len(one) % size
        padded = torch.cat([one, one.new_zeros(lacking, *one.shape[1:])])
        return list(padded.split(size))

    def _stacked(self, one: Tensor) -> Tensor:
        """[L, B, ...] as its pieces side by side, [bptt_steps, pieces * B, ...]."""
        return torch.cat(self._cut(one), 1)

    def _judge(self, inputs: Tensor, observation: Tensor, state: MemoryState) -> tuple[Distribution, Tensor]:
        network = self.agent.network
        outputs, _ = network.memory.sequence(part(self.parameters, "memory"), inputs, state)
        return network.heads(self.parameters, outputs, observation)

    # -- checkpoints

    def state_dict(self) -> dict[str, Any]:
        parameters = {name: value.detach() for name, value in self.parameters.items()}
        return {"parameters": parameters, "statistics": self.scales(), "ppo": self._ppo.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._ppo.check(state["ppo"])
        self.load_weights({**state["parameters"], **state["statistics"]})
        self._ppo.load_state_dict(state["ppo"])


RL2 = Algorithm(RL2Config, RL2Agent, RL2Learner)
