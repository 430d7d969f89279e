"""Soft actor-critic on a latent that a context encoder infers: all gradients of one step, written out, without state.

Rakelly et al. 2019 (arXiv:1903.08254), algorithm 1. Autograd would need twice as long at small sizes; the same losses,
left to it, are in tests/oracles/pearl.py. Shapes: N tasks, C transitions of each in its context, T rows of all of them
together, O observation entries, A action entries, Z latent entries, E critics. `grad_x` is the gradient of a loss with
respect to x.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from agents.functional.beliefs import (
    GaussianFactors,
    gaussian_factors,
    kl_to_prior,
    natural_parameters,
    posterior,
    posterior_gradient,
)
from agents.functional.ensembles import Layers, backward, forward
from agents.functional.sac import (
    SquashedActions,
    actor_loss,
    bootstrap_target,
    critic_loss,
    squash,
    squash_gradient,
    temperature_gradient,
)


class LatentBatch(NamedTuple):
    """The transitions and the noise of one gradient step."""

    context: Tensor  # [N, C, W], inputs of the encoder
    rows: Tensor  # [T, O + A + 2 + O]: observation, action, reward, terminated, next observation; task by task
    latent_noise: Tensor  # [N, Z]
    noise: Tensor  # [2 T, A], of actions at the observations, then at the next ones

    def split(self, count: int) -> list[LatentBatch]:
        """The batch in `count` equal parts of its tasks."""
        tasks, rows = len(self.context) // count, len(self.rows) // count
        at, following = self.noise.chunk(2)
        by_rows = self.rows.split(rows), at.split(rows), following.split(rows)
        by_task = self.context.split(tasks), self.latent_noise.split(tasks)
        return [
            LatentBatch(context, transitions, latent_noise, torch.cat((noise, next_noise)))
            for context, latent_noise, transitions, noise, next_noise in zip(*by_task, *by_rows, strict=True)
        ]


class _Posterior(NamedTuple):
    """The encoder's pass over the contexts, and the latents sampled from it."""

    activations: list[Tensor]
    factors: GaussianFactors
    mean: Tensor  # [N, Z]
    variance: Tensor  # [N, Z]
    std: Tensor  # [N, Z]
    noise: Tensor  # [N, Z]
    latent: Tensor  # [T, Z], of the task of each row


class _CriticPass(NamedTuple):
    """The critics' losses, and their gradients with respect to what enters their first layer."""

    critic_loss: Tensor
    actor_loss: Tensor
    own_value: Tensor  # [E, T], at the policy's own actions
    grad_log_prob: Tensor  # scalar, of the actor's loss
    grad_first: Tensor  # [E, 2 T, hidden], first layer's pre-activations: replayed actions, then the policy's own


@dataclass(frozen=True)
class LatentSAC:
    """The losses of PEARL, each minimised by its own network alone.

        critics  J_Q = sum_k E[(Q_k(s, a, z) - y)^2],   z ~ q(z | context), y the soft Bellman backup
        encoder  J_Q + kl_coef * E[KL(q(z | context) || N(0, I))]
        policy   E[temperature * log pi(a' | s, z) - min_k Q_k(s, a', z)] + regularisation * E[mean^2 + log std^2]

    Attributes:
        observations, actions: O and A.
        gamma: discount of the returns.
        reward_scale: factor on rewards.
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
    def compute_gradients(
        self,
        layers: Mapping[str, Layers],
        into: Mapping[str, Layers],
        log_temperature: Tensor,
        into_temperature: Tensor | None,
        batch: LatentBatch,
    ) -> dict[str, Tensor]:
        """Write the gradients of policy, encoder and critics, and that of a learned log temperature.

        Args:
            layers: of policy, encoder, critics and targets.
            into: where the gradients of the first three are written.
            log_temperature: scalar.
            into_temperature: where its gradient is written; None where it is fixed.
            batch: transitions and noise.

        Returns:
            metrics, scalars by name.
        """
        rows, count = batch.rows, len(batch.rows)
        observation, next_observation = rows[:, : self.observations], rows[:, -self.observations :]
        temperature = log_temperature.exp()
        inferred = self._infer_latents(layers["encoder"], batch)
        twice = torch.cat((inferred.latent, inferred.latent))
        acted = forward(layers["policy"], torch.cat((torch.cat((observation, next_observation)), twice), -1))
        squashed = squash(acted[-1][0], batch.noise)
        own, following = (SquashedActions(*part) for part in zip(*(x.split(count) for x in squashed), strict=True))

        critics = self._critic_pass(layers, into["critics"], rows, inferred.latent, (own, following), temperature)
        divergence = self._encoder_gradients(layers, into["encoder"], inferred, critics)

        # The policy's loss: values and densities of its own actions, at the observations.
        first_weight = layers["critics"][0][0][:, self.observations : self.observations + self.actions]
        grad_action = torch.bmm(first_weight, critics.grad_first[:, count:].mT).sum(0).t()
        grad_outputs = squash_gradient(own, grad_action, critics.grad_log_prob)
        at_observations = [activation[:, :count] for activation in acted]
        weight = 2.0 * self.policy_regularisation / own.action.numel()
        grad_outputs = torch.add(grad_outputs, at_observations[-1], alpha=weight)
        backward(layers["policy"], at_observations, grad_outputs, into["policy"])
        if into_temperature is not None and self.target_entropy is not None:
            into_temperature.copy_(temperature_gradient(own.log_prob, self.target_entropy))
        return {
            "critic_loss": critics.critic_loss,
            "actor_loss": critics.actor_loss,
            "value": critics.own_value.amin(0).mean(),
            "policy_entropy": -own.log_prob.mean(),
            "temperature": temperature,
            "kl_to_prior": divergence.mean(),
        }

    def _infer_latents(self, encoder: Layers, batch: LatentBatch) -> _Posterior:
        """Sample a latent for each task from its posterior."""
        context, noise = batch.context, batch.latent_noise
        activations = forward(encoder, context.flatten(0, 1))
        factors = gaussian_factors(activations[-1].view(*context.shape[:2], -1))
        mean, variance = posterior(*natural_parameters(factors))
        std = variance.sqrt()
        latent = torch.addcmul(mean, std, noise).repeat_interleave(len(batch.rows) // len(context), 0)
        return _Posterior(activations, factors, mean, variance, std, noise, latent)

    def _critic_pass(
        self,
        layers: Mapping[str, Layers],
        into: Layers,
        rows: Tensor,
        latent: Tensor,
        policy_actions: tuple[SquashedActions, SquashedActions],
        temperature: Tensor,
    ) -> _CriticPass:
        """Evaluate the critics at replayed and at the policy's own actions; write the critics' gradients.

        `policy_actions` are those at the observations and at the next ones.
        """
        own, following = policy_actions
        count, inputs = len(rows), self.observations + self.actions
        next_value = forward(layers["targets"], torch.cat((rows[:, inputs + 2 :], following.action, latent), -1))[-1]
        target = bootstrap_target(
            self.reward_scale * rows[:, inputs],
            rows[:, inputs + 1],
            next_value.squeeze(-1),
            following.log_prob,
            temperature,
            self.gamma,
        )
        replayed_and_own = torch.cat((rows[:, :inputs], torch.cat((rows[:, : self.observations], own.action), -1)))
        activations = forward(layers["critics"], torch.cat((replayed_and_own, torch.cat((latent, latent))), -1))
        value, own_value = activations[-1].squeeze(-1).split(count, 1)
        error, grad_value = critic_loss(value, target)
        loss, grad_own_value, grad_log_prob = actor_loss(own_value, own.log_prob, temperature)
        grad_values = torch.cat((grad_value, grad_own_value), 1).unsqueeze(-1)
        grad_first = backward(layers["critics"], activations, grad_values, into, learned=count)
        return _CriticPass(error, loss, own_value, grad_log_prob, grad_first)

    def _encoder_gradients(
        self, layers: Mapping[str, Layers], into: Layers, inferred: _Posterior, critics: _CriticPass
    ) -> Tensor:
        """Write the encoder's gradients: of the critics' loss and of the KL, which is returned [N]."""
        divergence, grad_mean, grad_variance = kl_to_prior(inferred.mean, inferred.variance)
        tasks = len(inferred.mean)
        count = len(inferred.latent)
        grad_task = critics.grad_first[:, :count].unflatten(1, (tasks, count // tasks)).sum(2)
        first_weight = layers["critics"][0][0][:, self.observations + self.actions :]
        grad_latent = torch.bmm(grad_task, first_weight.mT).sum(0)
        weight = self.kl_coef / tasks
        grad_mean = torch.add(grad_latent, grad_mean, alpha=weight)
        grad_variance = torch.add(grad_latent * inferred.noise / (2.0 * inferred.std), grad_variance, alpha=weight)
        grad_outputs = posterior_gradient(inferred.factors, inferred.mean, inferred.variance, grad_mean, grad_variance)
        outputs = inferred.activations[-1]
        backward(layers["encoder"], inferred.activations, grad_outputs.view_as(outputs), into)
        return divergence
