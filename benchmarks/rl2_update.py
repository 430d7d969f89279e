"""RL^2's meta-update against its bare products: `nn.GRU` forward and backward and the heads' matrix products.

    python benchmarks/rl2_update.py [--repeats 9]

The same shapes, minibatches and epochs, one after the other in one process and thread; the ratio is of medians. The
update also reads trials into inputs, estimates advantages (one more forward pass), computes losses and steps Adam.
Beside it the GRU alone, a minibatch forward and backward, by our own gradient (`agents/functional/gru.py`) and torch's.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from measure import record, spread

from agents.contract import TrialBatch
from agents.functional.gru import GRUSequence
from agents.rl2 import RL2Agent, RL2Config, RL2Learner
from envs.tabular.bandit import Bandit5Arms
from envs.tabular.tabular_mdp import TabularMDP
from envs.task import TaskFamily
from trainers.process import keep_freed_memory
from trainers.recipes.registry import interface_of
from trainers.sampling.random_streams import generator, random_key
from trainers.sampling.shards import make_shards
from trainers.sampling.trial_loop import run_trials

SHAPES: dict[str, tuple[TaskFamily, dict[str, object]]] = {
    "bandit, 1,000 trials of 10 pulls, GRU 64, 8 minibatches": (
        Bandit5Arms(),
        {
            "meta_batch_size": 1000,
            "episodes_per_trial": 10,
            "memory": {"name": "gru", "size": 64},
            "num_minibatches": 8,
        },
    ),
    "bandit, 200 trials of 100 pulls, GRU 64, 4 minibatches": (
        Bandit5Arms(),
        {
            "meta_batch_size": 200,
            "episodes_per_trial": 100,
            "memory": {"name": "gru", "size": 64},
            "num_minibatches": 4,
        },
    ),
    "tabular MDP, 200 trials of 100 steps, GRU 128, 4 minibatches": (
        TabularMDP(),
        {
            "meta_batch_size": 200,
            "episodes_per_trial": 10,
            "memory": {"name": "gru", "size": 128},
            "num_minibatches": 4,
        },
    ),
}


def batch_of(family: TaskFamily, agent: RL2Agent, learner: RL2Learner) -> TrialBatch:
    """One meta-batch."""
    plan = learner.plan(0)
    tasks = family.sample(learner.config.meta_batch_size, generator(random_key(0, "tasks", 0)), "train")
    keys = [random_key(0, "training", 0, trial) for trial in range(len(tasks))]
    (shard,) = make_shards(tasks, plan.rounds, keys, len(tasks))
    return run_trials(agent, family, learner.weights(), shard)


def bare(agent: RL2Agent, config: RL2Config) -> Callable[[], None]:
    """The products of an update: every epoch and minibatch, forward and backward."""
    network = agent.network
    inputs, size, steps = agent.trial_inputs.size, network.memory.output_size, agent.trial_inputs.trial_steps
    gru = torch.nn.GRU(inputs, size)
    heads = [torch.nn.Linear(sizes[0], sizes[-1]) for sizes in (network._actor, network._critic)]
    part = config.meta_batch_size // config.num_minibatches
    given, observed = torch.randn(steps, part, inputs), torch.randn(steps, part, agent.trial_inputs.observation_size)

    def run() -> None:
        for _ in range(config.update_epochs * config.num_minibatches):
            output, _ = gru(given)
            features = torch.cat([output, observed], -1)
            sum(head(features).sum() for head in heads).backward()

    return run


def gru_alone(agent: RL2Agent, config: RL2Config) -> dict[str, Callable[[], None]]:
    """A minibatch through the GRU and back, by our own gradient and by torch's."""
    memory, steps = agent.network.memory, agent.trial_inputs.trial_steps
    rows = config.meta_batch_size // config.num_minibatches
    parameters = [value.requires_grad_() for value in memory.init(torch.Generator().manual_seed(0)).values()]
    given, start = torch.randn(steps, rows, agent.trial_inputs.size), torch.zeros(rows, memory.output_size)
    upstream = torch.randn(steps, rows, memory.output_size)

    def ours() -> None:
        GRUSequence.apply(given, start, *parameters).backward(upstream)

    def torchs() -> None:
        torch.gru(given, start[None], parameters, True, 1, 0.0, False, False, False)[0].backward(upstream)

    return {"ours": ours, "torch": torchs}


def seconds(work: Callable[[], object], repeats: int) -> list[float]:
    """Wall time of each repeat after one that warms up."""
    work()
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    keep_freed_memory()
    torch.set_num_threads(1)
    figures = {}
    for name, (family, options) in SHAPES.items():
        config = RL2Config.model_validate(options)
        agent = RL2Agent(config, interface_of(family))
        learner = RL2Learner(agent, config, 0, torch.device("cpu"))
        batch = batch_of(family, agent, learner)
        whole = spread(seconds(lambda learner=learner, batch=batch: learner.update(batch), repeats))
        products = spread(seconds(bare(agent, config), repeats))
        ratio = round(whole["median"] / products["median"], 2)
        alone = {which: spread(seconds(work, repeats)) for which, work in gru_alone(agent, config).items()}
        figures[name] = {"update (s)": whole, "bare products (s)": products, "ratio": ratio, "GRU alone (s)": alone}
        print(name, ratio, flush=True)
    record("rl2_update", figures)


if __name__ == "__main__":
    main()
