"""PEARL's losses as the papers write them, differentiated by autograd: what the closed-form gradients must equal."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from torch.distributions.transforms import TanhTransform

from agents.functional.parameters import part
from agents.nets.mlp import mlp


def product_of_gaussians(mean: Tensor, variance: Tensor) -> Normal:
    """The normalised product of C densities N(mean [C, Z], variance [C, Z])."""
    precision = sum(1 / one for one in variance)
    return Normal(sum(m / v for m, v in zip(mean, variance, strict=True)) / precision, precision**-0.5)


def network(parameters, name, inputs: Tensor, member: int = 0) -> Tensor:
    """One perceptron on rows [T, in], by the plain loop."""
    mine = {key: value[member] for key, value in part(parameters, name).items()}
    return mlp(mine, len(mine) // 2, "relu", inputs)


def losses(parameters, drawn, config, observations: int, actions: int) -> dict[str, Tensor]:
    """Scalars whose gradients each network descends, by the name of the network.

    Args:
        parameters: the learner's, by name, with gradients wanted.
        drawn: what a gradient step learns from.
        config: the learner's; its temperature is a learned one.
        observations, actions: entries of each.
    """
    count, size = len(drawn.rows), config.batch_size
    seen, action, reward, terminated, following = drawn.rows.split((observations, actions, 1, 1, observations), 1)
    temperature = parameters["log_temperature"].exp().detach()
    posteriors = []
    for context in drawn.context:
        mean, raw = network(parameters, "encoder", context).chunk(2, -1)
        posteriors.append(product_of_gaussians(mean, torch.nn.functional.softplus(raw) + 1e-7))
    latents = [one.loc + one.scale * noise for one, noise in zip(posteriors, drawn.latent_noise, strict=True)]
    latent = torch.cat([one.expand(size, -1) for one in latents])
    prior = Normal(torch.zeros(config.latent_size), torch.ones(config.latent_size))
    divergence = sum(kl_divergence(one, prior).sum() for one in posteriors) / len(posteriors)

    def act(at: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        outputs = network(parameters, "policy", torch.cat((at, latent.detach()), 1))
        mean, log_std = outputs.chunk(2, -1)
        before = mean + log_std.exp() * noise
        slope = TanhTransform().log_abs_det_jacobian(before, before.tanh())
        return before.tanh(), (Normal(mean, log_std.exp()).log_prob(before) - slope).sum(-1), outputs

    def critics(name: str, at: Tensor, done: Tensor, of: Tensor, frozen: bool = False) -> Tensor:
        used = {key: value.detach() for key, value in parameters.items()} if frozen else parameters
        return torch.stack([network(used, name, torch.cat((at, done, of), 1), k)[:, 0] for k in (0, 1)])

    with torch.no_grad():
        next_action, next_log_prob, _ = act(following, drawn.noise[count:])
        next_value = critics("targets/critics", following, next_action, latent).min(0).values
        soft = next_value - temperature * next_log_prob
        target = config.reward_scale * reward[:, 0] + config.gamma * (1 - terminated[:, 0]) * soft
    value = critics("critics", seen, action, latent)
    error = sum(torch.nn.functional.mse_loss(one, target) for one in value)
    own, log_prob, outputs = act(seen, drawn.noise[:count])
    own_value = critics("critics", seen, own, latent.detach(), frozen=True).min(0).values
    actor = (temperature * log_prob - own_value).mean()
    squares = (outputs[:, :actions] ** 2).mean() + (outputs[:, actions:] ** 2).mean()
    wanted = config.temperature.target_entropy
    return {
        "critics": error,
        "encoder": error + config.kl_coef * divergence,
        "policy": actor + config.policy_regularisation * squares,
        "log_temperature": -parameters["log_temperature"] * (log_prob.detach().mean() + wanted),
    }
