"""Networks with a latent task: policy and critics conditioned on it, an encoder that infers it.

They are perceptrons (agents/nets/ensembles.py); their inputs are, in this order:

    policy   observation, latent                      -> mean and log deviation of the action before it is squashed
    critics  observation, action, latent              -> value, of each of two
    encoder  observation, action, reward (, next observation) -> mean and variance of the latent, before a softplus
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import gymnasium
import numpy as np
import torch
from torch import Tensor

from agents.contract import AgentError, Interface, RoundBatch, TrialBatch
from agents.functional.parameters import Parameters
from agents.nets.encoders import make_encoder
from agents.nets.ensembles import init_ensemble
from agents.nets.policies import check_actions


class LatentActor:
    """Sizes and inputs of policy, encoder and twin critics: actions in [-1, 1], observations normalised.

    Shapes: O observation entries, A action entries, Z latent entries, W numbers of a context's transition.

    Args:
        interface: the family's spaces: observations without images, and a bounded flat box of actions.
        latent_size: Z.
        hidden_sizes: of the policy and the critics.
        encoder_sizes: hidden ones of the encoder.
        sees_next: whether a context's transitions hold the next observation.
    """

    def __init__(
        self,
        interface: Interface,
        *,
        latent_size: int,
        hidden_sizes: Sequence[int],
        encoder_sizes: Sequence[int],
        sees_next: bool,
    ) -> None:
        action, self.encoder = interface.action_space, make_encoder(interface.observation_space)
        check_actions(action)
        if not isinstance(action, gymnasium.spaces.Box):
            raise AgentError(f"this agent takes flat Box actions, not {action}; choose another agent for this family")
        if self.encoder.images:
            raise AgentError(
                f"this agent's networks read no images, and {interface.observation_space} holds one; maml, reptile, "
                "rl2 and varibad read them"
            )
        if not np.isfinite([action.low, action.high]).all():
            raise AgentError(f"this agent's actions fill a bounded space, but {action} has no bounds; bound it")
        self.observations, self.actions, self.latents = self.encoder.input_size, action.shape[0], latent_size
        self.middle = torch.as_tensor((action.high + action.low) / 2).float()
        self.half_range = torch.as_tensor((action.high - action.low) / 2).float()
        self.sees_next = sees_next
        self.context_width = self.observations * (2 if sees_next else 1) + self.actions + 1
        acting = self.observations + latent_size
        self._networks = {  # sizes, networks side by side, scale of the last layer
            "policy": ((acting, *hidden_sizes, 2 * self.actions), 1, 0.01),
            "encoder": ((self.context_width, *encoder_sizes, 2 * latent_size), 1, 1.0),
            "critics": ((acting + self.actions, *hidden_sizes, 1), 2, 1.0),
        }

    def init(self, name: str, generator: torch.Generator) -> Parameters:
        """Fresh parameters of the policy, the encoder or the critics, names beginning with that."""
        sizes, members, scale = self._networks[name]
        return {f"{name}/{key}": value for key, value in init_ensemble(sizes, members, generator, scale).items()}

    def init_statistics(self, *, rewards: bool) -> Parameters:
        """Statistics that leave observations, and rewards if these are normalised, as they are."""
        statistics = {"mean": torch.zeros(self.observations), "scale": torch.ones(self.observations)}
        return statistics | ({"reward": torch.ones(1)} if rewards else {})

    def context(self, statistics: Parameters, batch: RoundBatch) -> Tensor:
        """[B, R * L, W]: observation, action, reward and maybe next observation of a round's steps [B, R, L, ...]."""
        parts = [self.normalised(statistics, batch.observation), self.centred(batch.action)]
        parts.append(self.scaled(statistics, batch.reward).unsqueeze(-1))
        if self.sees_next:
            parts.append(self.normalised(statistics, batch.next_observation))
        return torch.cat(parts, -1).flatten(1, 2)

    def transitions(self, statistics: Parameters, batch: RoundBatch, reward: np.ndarray) -> Tensor:
        """[B, R * L, 2 O + A + 2]: observation, action, reward, terminated, next observation of a round's steps."""
        ended = torch.as_tensor(batch.terminated.astype(np.float32))
        outcome = torch.stack([self.scaled(statistics, reward), ended], -1)
        before, after = (self.normalised(statistics, array) for array in (batch.observation, batch.next_observation))
        return torch.cat((before, self.centred(batch.action), outcome, after), -1).flatten(1, 2)

    def by_task(
        self, statistics: Parameters, batch: RoundBatch, dense_reward: bool
    ) -> Iterator[tuple[int, Tensor, Tensor]]:
        """(task, its `transitions`, its `context`), [steps, ...], of each trial [B] of a round, without padding.

        `dense_reward`: whether transitions have the family's privileged reward; contexts never do.
        """
        reward = batch.dense_reward if dense_reward else batch.reward
        if reward is None:
            raise AgentError("this family gives no dense reward to learn from; set agent.dense_reward to false")
        transitions, contexts = self.transitions(statistics, batch, reward), self.context(statistics, batch)
        for task, valid, rows, context in zip(batch.task_id, batch.valid, transitions, contexts, strict=True):
            steps = torch.from_numpy(valid.reshape(-1))
            yield int(task), rows[steps], context[steps]

    def normalised(self, statistics: Parameters, observation: np.ndarray) -> Tensor:
        """Stored observations [..., *shape] as features [..., O], shifted and scaled by `mean` and `scale`."""
        return (self.encoder.prepare(observation) - statistics["mean"]) / statistics["scale"]

    def measure(self, statistics: Parameters, batch: TrialBatch, observations: bool, rewards: bool) -> None:
        """Set `mean` and `scale`, if observations are normalised, and `reward`, if rewards are, to those of a batch."""
        if observations:
            features = [self.encoder.prepare(trials.observation[trials.valid]).numpy() for trials in batch]
            values, numbers = np.concatenate(features).astype(np.float64), self.encoder.numbers.numpy()
            deviation = values.std(0)
            statistics["mean"].copy_(torch.as_tensor(np.where(numbers, values.mean(0), 0.0)))
            statistics["scale"].copy_(torch.as_tensor(np.where(numbers & (deviation > 1e-6), deviation, 1.0)))
        if rewards:
            spread = float(np.concatenate([trials.reward[trials.valid] for trials in batch]).std(dtype=np.float64))
            statistics["reward"].fill_(spread if spread > 1e-6 else 1.0)

    def scaled(self, statistics: Parameters, reward: np.ndarray) -> Tensor:
        """Rewards [...] divided by the deviation `reward`; as they are without it."""
        values = torch.as_tensor(reward).float()
        return values / statistics["reward"] if "reward" in statistics else values

    def centred(self, action: np.ndarray) -> Tensor:
        """Actions [..., A] of the family's space, as ones in [-1, 1]."""
        return (torch.as_tensor(action) - self.middle) / self.half_range

    def in_space(self, action: Tensor) -> Tensor:
        """The inverse of `centred`."""
        return torch.addcmul(self.middle, self.half_range, action)
