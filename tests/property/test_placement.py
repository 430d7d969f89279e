"""Every learner's update on another device than the CPU, without one: no operation mixes devices.

The update runs on fake tensors (`FakeTensorMode`), which have shapes and devices but no values, with the learner on the
device `meta`: the CPU build of torch aborts on others. What needs values is answered here by made-up ones:

    asked for                     by
    .item(), float(), bool()      metrics, refusals of what is not finite, TRPO's line search: 1 or true
    .tolist(), .numpy()           metrics, weights that are sent to workers: ones
    a mask as an index            VariBAD's steps of all trials, value scales: as if all were valid
    torch.nonzero                 value scales: all

So the branches that values decide are each taken one way alone: both are played on the CPU by other tests. Not vouched
for are the kernels themselves: cuDNN's recurrent networks, fused optimisers (replaced here by plain ones), NCCL. `make
gpu-check` plays all of it where there is a GPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode

from agents import ALGORITHMS
from envs.navigation.point_nav import PointNav
from tests.helpers import TINY_PEARL, sample, some_tasks
from trainers.recipes.assembling import build
from trainers.recipes.schema import Recipe

META = torch.device("meta")
SMALL = ["device=cpu", "workers=0", "agent.meta_batch_size=4"]
GRADIENT = ["agent.rollouts=3", "agent.hidden_sizes=[8]", "agent.task_chunk=2"]
IN_CONTEXT = ["agent.episodes_per_trial=2", "agent.num_minibatches=2", "agent.update_epochs=2", "agent.microbatches=2"]
CASES = {
    "maml_clip": ("point_nav_maml", GRADIENT),
    "maml_trpo": ("point_nav_maml_trpo", GRADIENT),
    "maml_step_sizes": ("point_nav_metasgd", GRADIENT),
    "maml_two_steps": ("point_nav_maml", [*GRADIENT, "agent.inner_steps=2", "agent.outer_weights=[0.5, 0.5]"]),
    "reptile": ("point_nav_reptile", GRADIENT),
    **{
        f"rl2_{memory}": ("point_nav_rl2", [*IN_CONTEXT, f"agent.memory={memory}", "agent.bptt_steps=null"])
        for memory in ("gru", "lstm", "external", "transformer", "snail", "none")
    },
    "rl2_bptt": ("point_nav_rl2", [*IN_CONTEXT, "agent.bptt_steps=4"]),
    "varibad": ("point_nav_varibad", IN_CONTEXT),
    "varibad_into_encoder": ("point_nav_varibad", [*IN_CONTEXT, "agent.policy_into_encoder=true"]),
    "pearl": ("point_nav_maml", [*TINY_PEARL, "agent.temperature=learned"]),
    "pearl_fixed": ("point_nav_maml", [*TINY_PEARL, "agent.temperature=fixed", "agent.microbatches=2"]),
}
"""Algorithm and network kinds whose update is played; a test asks for every registered algorithm."""


class MadeUpValues(TorchFunctionMode):
    """Answers what fake tensors cannot: values, and shapes that depend on them."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(function, "__name__", "")
        tensor = args[0] if args and isinstance(args[0], torch.Tensor) else None
        if tensor is not None:
            if name in ("item", "__float__", "__int__", "__index__"):
                return 1 if name in ("__int__", "__index__") else 1.0
            if name == "__bool__":
                return True
            if name in ("tolist", "numpy"):
                ones = np.ones(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
                return ones if name == "numpy" else ones.tolist()
            if name == "nonzero":
                rows = torch.arange(tensor.numel(), device=tensor.device)
                return rows[:, None].expand(-1, tensor.ndim)
            if name == "__getitem__" and isinstance(args[1], torch.Tensor) and args[1].dtype == torch.bool:
                assert args[1].device in (tensor.device, torch.device("cpu")), "a mask on another device"
                return tensor.flatten(0, args[1].ndim - 1)
        return function(*args, **(kwargs or {}))


class ShortPointNav(PointNav):
    """Recurrent networks take a fake operation for each step."""

    episode_steps = 6


class PlainAdam(torch.optim.Adam):
    """Adam without its fused kernel, which has no fake."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **{**named, "fused": False, "foreach": False})


def updated(name, monkeypatch, spoil=lambda learner: None):
    """Play an update of this case on fake tensors; the learner."""
    shipped, more = CASES[name]
    overrides = [one for one in SMALL if "pearl" not in name or "meta_batch" not in one]
    recipe = Recipe.load(shipped, [*overrides, *more])
    family = ShortPointNav()
    agent, first = build(recipe, family, torch.device("cpu"))
    plan = first.plan(0)
    tasks = some_tasks(plan.tasks if isinstance(plan.tasks, int) else len(plan.tasks), family)
    batch = sample(agent, first, tasks, plan.rounds, family)
    monkeypatch.setattr(torch.optim, "Adam", PlainAdam)
    with MadeUpValues(), FakeTensorMode(allow_non_fake_inputs=True):
        learner = recipe.algorithm.make_learner(agent, recipe.agent, recipe.seed, META)
        spoil(learner)
        metrics = learner.update(batch)
        weights = learner.weights()
    assert set(metrics) >= set(learner.metrics)
    assert {value.device.type for value in weights.values()} == {"cpu"}, "weights go to workers"
    return learner


@pytest.mark.parametrize("name", CASES)
def test_an_update_stays_on_its_device(name, monkeypatch):
    learner = updated(name, monkeypatch)
    learned = [value for key, value in learner.parameters.items() if not key.startswith(("observation/", "exploring"))]
    assert {value.device for value in learned} == {META}


def test_every_algorithm_is_played():
    assert {Recipe.load(*case).agent_name for case in CASES.values()} == set(ALGORITHMS)


@pytest.mark.parametrize("name", ["maml_clip", "rl2_gru", "varibad", "pearl"])
def test_a_tensor_that_was_left_on_the_cpu_is_found(name, monkeypatch):
    def spoil(learner):
        layers = learner._layers["policy"] if name == "pearl" else learner.parameters
        key = (
            0
            if name == "pearl"
            else next(key for key in learner.parameters if key.endswith(("bias", "bias1", "b0", "0")))
        )
        stray = layers[key]
        moved = (
            tuple(one.to("cpu") for one in stray)
            if isinstance(stray, tuple)
            else stray.detach().to("cpu").requires_grad_()
        )
        layers[key] = moved

    with pytest.raises(Exception, match="same device"):
        updated(name, monkeypatch, spoil)
