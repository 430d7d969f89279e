"""Soft actor-critic on a latent that an encoder infers: all gradients of one step, in closed form, without state.

Rakelly et al. 2019 (arXiv:1903.08254), algorithm 1. Autograd would need twice as long at small sizes; the same losses,
left to it, are in tests/oracles/pearl.py. Shapes: N tasks, C transitions of each in its context, T rows of all of them
together, O observation entries, A action entries, Z latent entries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from agents.functional.beliefs import factors, kl_to_prior, natural_parameters, posterior, posterior_gradient
from agents.functional.ensembles import Layers, backward, forward
from agents.functional.sac import (
    Squashed,
    actor_loss,
    bootstrap_target,
    critic_loss,
    squash,
    squash_gradient,
    temperature_gradient,
)


class LatentBatch(NamedTuple):
    """What a gradient step learns from."""

    context: Tensor  # [N, C, W], inputs of the encoder
    rows: Tensor  # [T, O + A + 2 + O]: observation, action, reward, terminated, next observation; task by task
    latent_noise: Tensor  # [N, Z]
    noise: Tensor  # [2 T, A], of actions at the observations, then at the next ones


@dataclass(frozen=True)
class LatentSAC:
    """What is minimised, each by its own network alone.

        critics  J_Q = sum_k E[(Q_k(s, a, z) - y)^2],   z ~ q(z | context), y the soft Bellman backup
        encoder  J_Q + kl_coef * E[KL(q(z | context) || N(0, I))]
        policy   E[temperature * log pi(a' | s, z) - min_k Q_k(s, a', z)] + regularisation * E[mean^2 + log std^2]

    Attributes:
        observations, actions: O and A.
        gamma: discount of the returns.
        reward_scale: what rewards are multiplied by.
        kl_coef: of the mean over tasks.
        policy_regularisation: of the policy's outputs.
        target_entropy: nats; None where the temperature is fixed.
    """

    observations: int
    actions: int
    gamma: float
    reward_scale: float
    kl_coef: float
    policy_regularisation: float
    target_entropy: float | None

    @torch.no_grad()
    def differentiate(
        self,
        layers: Mapping[str, Layers],
        into: Mapping[str, Layers],
        log_temperature: Tensor,
        into_temperature: Tensor | None,
        batch: LatentBatch,
    ) -> dict[str, Tensor]:
        """Writes the gradients of policy, encoder and critics, and that of a learned log temperature.

        Args:
            layers: of policy, encoder, critics and targets.
            into: where the gradients of the first three are written.
            log_temperature: scalar.
            into_temperature: where its gradient is written; None where it is fixed.
            batch: what the step learns from.

        Returns:
            what to report, scalars by name.
        """
        context, rows, latent_noise, noise = batch
        tasks, count, taught = len(context), len(rows), self.observations + self.actions
        seen, told, following = rows[:, : self.observations], rows[:, taught : taught + 2], rows[:, taught + 2 :]
        temperature = log_temperature.exp()

        # the latent of each task, from the posterior
        of_encoder = forward(layers["encoder"], context.flatten(0, 1))
        each = factors(of_encoder[-1].view(*context.shape[:2], -1))
        mean, variance = posterior(*natural_parameters(each))
        std = variance.sqrt()
        latent = torch.addcmul(mean, std, latent_noise).repeat_interleave(count // tasks, 0)
        twice = torch.cat((latent, latent))

        # the policy on what was seen, then on what followed
        of_policy = forward(layers["policy"], torch.cat((torch.cat((seen, following)), twice), -1))
        squashed = squash(of_policy[-1][0], noise)
        own, following_own = (Squashed(*parts) for parts in zip(*(one.split(count) for one in squashed), strict=True))

        # the critics on what was done, then on what the policy would do
        next_value = forward(layers["targets"], torch.cat((following, following_own.action, latent), -1))[-1]
        target = bootstrap_target(
            self.reward_scale * told[:, 0],
            told[:, 1],
            next_value.squeeze(-1),
            following_own.log_prob,
            temperature,
            self.gamma,
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
        of_task = passed[:, :count].unflatten(1, (tasks, count // tasks)).sum(2)
        by_latent = torch.bmm(of_task, first[:, taught:].mT).sum(0)
        weight = self.kl_coef / tasks
        by_mean = torch.add(by_latent, by_mean, alpha=weight)
        by_variance = torch.add(by_latent * latent_noise / (2.0 * std), by_variance, alpha=weight)
        by_outputs = posterior_gradient(each, mean, variance, by_mean, by_variance)
        backward(layers["encoder"], of_encoder, by_outputs.view_as(of_encoder[-1]), into["encoder"])

        # policy: the values of its own actions and their density
        by_action = torch.bmm(first[:, self.observations : taught], passed[:, count:].mT).sum(0).t()
        by_outputs = squash_gradient(own, by_action, by_log_prob)
        of_seen = [one[:, :count] for one in of_policy]
        weight = 2.0 * self.policy_regularisation / own.action.numel()
        backward(layers["policy"], of_seen, torch.add(by_outputs, of_seen[-1], alpha=weight), into["policy"])
        if into_temperature is not None and self.target_entropy is not None:
            into_temperature.copy_(temperature_gradient(own.log_prob, self.target_entropy))
        return {
            "critic_loss": error,
            "actor_loss": loss,
            "value": own_value.amin(0).mean(),
            "policy_entropy": -own.log_prob.mean(),
            "temperature": temperature,
            "kl_to_prior": divergence.mean(),
        }
