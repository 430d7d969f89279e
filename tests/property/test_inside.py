"""Inspection: recording an agent changes nothing, traces hold what it showed, and every plot is drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import yaml
from matplotlib.colors import LogNorm
from PIL import Image

from agents.rl2 import RL2Agent
from envs.locomotion.ant import AntDir
from envs.locomotion.half_cheetah import HalfCheetahDir, HalfCheetahRandParams
from envs.tabular.grid_navi import GridNavi
from envs.tabular.tabular_mdp import TabularMDP
from tests.helpers import call
from trainers.errors import DrawingError
from trainers.recipes.schema import Recipe
from trainers.reporting import attention_plots, belief_plots, embeddings, inspection, inspection_plots
from trainers.reporting.inspection import RecordingAgent
from trainers.runs.run_folder import Run
from trainers.sampling.random_streams import random_key
from trainers.sampling.shards import Shard
from trainers.sampling.trial_loop import run_trials
from trainers.training import setup

COMMON = {"seed": 0, "iterations": 1, "workers": 0, "device": "cpu", "learner_threads": 1}
LINE = "tests.helpers:LineFamily"  # its episodes end early, so trials differ in length
FEW = {"every": 0, "validation_tasks": 1, "held_out_tasks": 12, "rounds": 2, "rollouts": 1}
SMALL = {"meta_batch_size": 2, "episodes_per_trial": 3, "num_minibatches": 1}
RECIPES = {
    "gru": (LINE, {"name": "rl2", **SMALL, "memory": {"name": "gru", "size": 8}}, FEW),
    "transformer": (
        LINE,
        {"name": "rl2", **SMALL, "memory": {"name": "transformer", "size": 8, "layers": 1, "heads": 2}},
        FEW,
    ),
    "external": (LINE, {"name": "rl2", **SMALL, "memory": {"name": "external", "size": 8, "slots": 4}}, FEW),
    "varibad": (
        "grid_navi-v1",
        {"name": "varibad", **SMALL, "latent_size": 3, "encoder": {"name": "gru", "size": 8}},
        {**FEW, "held_out_tasks": 21, "repeats": 2},
    ),
    "maml": (
        "point_nav-v1",
        {"name": "maml", "meta_batch_size": 2, "rollouts": 2, "hidden_sizes": [8]},
        {**FEW, "rounds": 1, "rollouts": 2},
    ),
}


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """The run of a recipe as it is created: fresh weights, frozen tasks."""
    folder, runs = tmp_path_factory.mktemp("runs"), {}

    def of(kind) -> Run:
        if kind not in runs:
            family, agent, evaluation = RECIPES[kind]
            file = folder / f"{kind}.yaml"
            file.write_text(yaml.safe_dump({**COMMON, "family": family, "agent": agent, "evaluation": evaluation}))
            runs[kind] = setup.create_run(Recipe.load(file), folder / kind)
        return runs[kind]

    return of


def shard_of(run, count=5):
    """The agent and its weights, the family, and a shard of held-out trials."""
    family = run.family()
    agent, weights, _ = run.load(family)
    settings = run.recipe.evaluation
    tasks = run.task_set(family, "held-out").tasks[:count]
    keys = tuple(random_key(0, "evaluation", index) for index in range(count))
    return agent, weights, family, Shard(tasks, agent.trial_rounds(settings.rounds, settings.rollouts), keys)


# -- what is seen


@pytest.mark.parametrize("kind", RECIPES)
def test_recording_changes_no_bit(begun, kind):
    agent, weights, family, shard = shard_of(begun(kind))
    alone = run_trials(agent, family, weights, shard)
    recording = run_trials(RecordingAgent(agent, [0, 2], every=2), family, weights, shard)
    for one, other in zip(alone, recording, strict=True):
        for name, array in one.arrays().items():
            assert np.array_equal(array, getattr(other, name)), name


@pytest.mark.parametrize("kind", ["gru", "transformer", "external", "varibad"])
def test_traces_hold_what_an_agent_stepped_by_hand_shows(begun, kind):
    """Each trial alone, by its own actions and rewards, with `inspect` after every action."""
    agent, weights, family, shard = shard_of(begun(kind))
    recording = RecordingAgent(agent, [1, 3], every=3)
    (batch,) = run_trials(recording, family, weights, shard)
    trials = batch.by_trial()
    lengths = set()
    for trial, one in enumerate(recording.traces()):
        length = int(trials.valid[trial, 0].sum())
        lengths.add(length)
        state = agent.begin_trial(weights, 1)
        shown = []
        for step in range(length):
            _, _, state = agent.act(weights, state, trials.observation[trial : trial + 1, :, step], None)
            shown.append({name: array[0].copy() for name, array in agent.inspect(weights, state).items()})
            fields = {name: array for name, array in trials.arrays().items() if name != "task_id"}
            transition = {name: array[trial : trial + 1, :, step] for name, array in fields.items()}
            state = agent.observe(weights, state, transition)
        assert one.env_steps.tolist() == list(range(length))
        episode = trials.episode[trial, 0, :length]
        assert one.begins.tolist() == [True, *(np.diff(episode) > 0)]
        for name, vector in one.vectors.items():
            np.testing.assert_allclose(vector, shown[-1][name], atol=1e-5)
        for name, (mean, deviation) in one.beliefs.items():
            np.testing.assert_allclose(mean, [now[f"{name}_mean"] for now in shown], atol=1e-5)
            np.testing.assert_allclose(deviation, [now[f"{name}_deviation"] for now in shown], atol=1e-5)
        assert bool(one.attention) == (trial in (1, 3) and kind in ("transformer", "external"))
        for name, (actions, weights_seen) in one.attention.items():
            assert actions.tolist() == list(range(0, length, 3))
            for action, array in zip(actions, weights_seen, strict=True):
                np.testing.assert_allclose(array, shown[action][f"attention/{name}"], atol=1e-5)
        assert {**one.vectors, **one.beliefs} or kind == "transformer"
    assert len(lengths) > 1 or kind == "varibad", "trials of one length would not show that padding is left out"


def test_rollouts_that_share_an_adaptation_are_counted_together(begun):
    agent, weights, family, shard = shard_of(begun("maml"))
    recording = RecordingAgent(agent)
    batch = run_trials(recording, family, weights, shard)
    for trial, one in enumerate(recording.traces()):
        taken = np.concatenate([part.by_trial().valid[trial].sum(0) for part in batch])  # rows at each step
        assert one.env_steps.tolist() == (np.cumsum(taken) - taken)[taken > 0].tolist()
        first_round = int((batch[0].by_trial().valid[trial].sum(0) > 0).sum())
        assert np.flatnonzero(one.begins).tolist() == [0, first_round]
        # The last state is that of the last round: adapted once, on the first round.
        state = agent.adapt(weights, agent.begin_trial(weights, len(shard.tasks)), batch[0].by_trial())
        expected = agent.inspect(weights, state)["parameter_shift"][trial]
        assert np.abs(expected).max() > 0
        np.testing.assert_allclose(one.vectors["parameter_shift"], expected, atol=1e-6)


def test_names_say_what_is_a_belief():
    ones = np.ones((2, 3))
    beliefs, vectors, attention = inspection.group_by_kind(
        {"a_mean": ones, "a_variance": 4 * ones, "b_mean": ones, "c": ones, "attention/layer": np.ones((2, 1, 5))}
    )
    assert set(vectors) == {"a_mean", "b_mean", "c"}
    assert set(attention) == {"layer"}
    assert list(beliefs) == ["a"]
    assert np.array_equal(beliefs["a"][1], 2 * ones)


def test_finite_families_are_inspected_in_repeats_of_their_tasks(begun):
    found = inspection.inspect_run(begun("varibad"), "held-out", "last", 200)
    assert [task["goal"] for task in found.tasks[:4]] == [2, 2, 3, 3]
    assert len(found.traces) == len(found.tasks) == 42
    assert [found.tasks[trial]["goal"] for trial in found.drawn] == [2, 11, 17, 24]


# -- the command

PLOTS = {
    "gru": ["embedding_hidden_state"],
    "transformer": ["embedding_hidden_state", "attention_layer_0"],
    "external": ["embedding_hidden_state", "attention_slots"],
    "varibad": ["embedding_belief_mean", "narrowing_belief", "along_the_trial_belief"],
    "maml": ["embedding_parameter_shift"],
}


@pytest.mark.parametrize("kind", PLOTS)
def test_every_plot_is_drawn(begun, kind):
    path = begun(kind).path
    result = call("embed", path)
    assert result.exit_code == 0, result.output
    assert "note" not in result.output
    expected = {path / "embeddings" / f"held-out_{name}.png" for name in PLOTS[kind]}
    assert set((path / "embeddings").iterdir()) == expected
    assert set(result.output.split()) == {str(one) for one in expected}
    for one in expected:
        pixels = np.asarray(Image.open(one).convert("L"))
        assert min(pixels.shape) > 300
        assert pixels.std() > 10, "something is drawn"


def test_the_trials_are_the_evaluators_and_resume_takes_the_folder(begun, monkeypatch):
    run = begun("gru")
    assert call("embed", run.path).exit_code == 0
    assert call("resume", run.path).exit_code == 0
    rows = run.rows().to_pandas()
    returns = (
        rows[rows["split"] == "held-out"].groupby(["task", "adaptation_step"])["return"].sum().groupby("task").sum()
    )
    batches = []

    def spy(*arguments):
        batches.append(run_trials(*arguments))
        return batches[-1]

    monkeypatch.setattr(inspection, "run_trials", spy)
    inspection.inspect_run(run, "held-out", "last", 200)
    followed = np.concatenate([batch[0].row_returns().reshape(-1) for batch in batches])
    np.testing.assert_array_equal(followed, returns.to_numpy())


def test_too_few_tasks_and_nothing_that_differs_are_told(begun, tmp_path):
    few = call("embed", begun("gru").path, "--tasks", 4, "--out", tmp_path / "few")
    assert few.exit_code == 0
    assert "t-SNE of hidden_state needs at least 10 trials and there are 4" in " ".join(few.output.split())
    assert [one.name for one in (tmp_path / "few").iterdir()] == ["held-out_embedding_hidden_state.png"]
    one = call("embed", begun("gru").path, "--tasks", 1, "--out", tmp_path / "one")
    assert one.exit_code == 0
    assert "hidden_state is the same at the end of each of 1 trials" in " ".join(one.output.split())
    assert not list((tmp_path / "one").iterdir())


def test_what_cannot_be_drawn_is_a_sentence(begun, tmp_path, monkeypatch):
    path = begun("gru").path

    def refused(*words):
        result = call("embed", *words)
        assert result.exit_code == 2
        return " ".join(result.output.split())

    assert "--split nowhere is neither a split" in refused(path, "--split", "nowhere")
    assert "declares no ood range" in refused(begun("varibad").path, "--split", "ood")
    assert "holds no checkpoint 7" in refused(path, "--checkpoint", 7)
    assert "is not a run folder" in refused(tmp_path)
    (tmp_path / "file").touch()
    assert "name another one with --out" in refused(path, "--tasks", 2, "--out", tmp_path / "file")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RL2Agent, "inspect", lambda self, weights, state: {"hidden_state": np.full((4, 2), np.nan)})
        _, notes = inspection_plots.draw(begun("gru"), "held-out", "last", tmp_path / "nan", 4)
        assert notes == ["hidden_state is not finite, so it has no embedding"]
        rounding = 1 + 1e-7 * np.arange(8).reshape(4, 2)
        patch.setattr(RL2Agent, "inspect", lambda self, weights, state: {"hidden_state": rounding})
        made, (note,) = inspection_plots.draw(begun("gru"), "held-out", "last", tmp_path / "same", 4)
        assert note.startswith("hidden_state is the same")
        assert not made
    monkeypatch.setattr(RL2Agent, "inspect", lambda self, weights, state: {})
    with pytest.raises(DrawingError, match="rl2 shows nothing of what it has learned"):
        inspection_plots.draw(begun("gru"), "held-out", "last", tmp_path / "none", 4)
    assert not (tmp_path / "none").exists()


# -- embeddings and colours


def test_what_lies_apart_stays_apart():
    rng = np.random.default_rng(0)
    which = np.repeat([0, 1], 15)
    for entries in (1, 2, 80):  # one entry leaves a line; of 80, t-SNE is given principal components
        vectors = rng.normal(size=(30, entries)) + 50 * which[:, None]
        places = embeddings.neighbours(vectors)
        assert np.array_equal(places, embeddings.neighbours(vectors)), "nothing is left to chance"
        centres = np.stack([places[which == side].mean(0) for side in (0, 1)])
        distances = np.linalg.norm(places[:, None] - centres, axis=-1)
        assert np.array_equal(distances.argmin(1), which)
        points, shares = embeddings.principal(vectors)
        assert points.shape == (30, 2)
        assert 0.9 < shares.sum() < 1 + 1e-9


def test_a_colouring_for_each_entry_that_differs():
    def colourings(family, count=30):
        return embeddings.colourings_of(family, family.sample(count, np.random.default_rng(0), "train"))

    (goal,) = colourings(GridNavi())
    assert goal.ticks is None
    (turn,) = colourings(AntDir())
    assert turn.colours == "twilight"
    assert turn.norm(0.0) == 0.0
    (side,) = colourings(HalfCheetahDir())
    assert side.ticks[1] == ["-1", "1"]
    bodies = colourings(HalfCheetahRandParams())
    assert {"mass_scale[0]", "gear_scale[5]"} <= {one.name for one in bodies}
    assert all(isinstance(one.norm, LogNorm) for one in bodies)
    tables = colourings(TabularMDP())
    assert len(tables) == 10 * 5 * 10 + 10 * 5, "a number of a draw says nothing: its tables do"
    # The plane tells two entries exactly, and those are among the six that are drawn.
    points = np.column_stack([tables[100].values, tables[7].values])
    chosen = embeddings.most_explained(points, tables)
    assert len(chosen) == 6
    assert {tables[7].name, tables[100].name} <= {one.name for one in chosen}
    assert not colourings(GridNavi(), 1)


def test_many_entries_of_tasks_and_beliefs_are_drawn(begun):
    """More of both than there is room for, and attention with more heads, in trials without an embedding."""
    family = TabularMDP()
    tasks = family.sample(12, np.random.default_rng(0), "train")
    rng = np.random.default_rng(1)
    seen = []
    for _ in tasks:
        mean, deviation = rng.normal(size=(40, 20)), np.exp(-0.1 * np.arange(40))[:, None] * np.ones((1, 20))
        heads = [torch.softmax(torch.as_tensor(rng.normal(size=(6, step + 1))), -1).numpy() for step in range(40)]
        begins = np.arange(40) % 10 == 0
        seen.append(
            inspection.TrialTrace(
                np.arange(40), begins, {"v": mean[-1]}, {"b": (mean, deviation)}, {"x": (np.arange(40), heads)}
            )
        )
    drawn = inspection.Inspection("title", family, tasks, seen, [0, 4, 8])
    embedding = embeddings.embedding(drawn, "v", np.array([one.vectors["v"] for one in seen]))
    assert len(embedding.axes) == 2 * 6 + 6, "two planes and a colour bar for each of six entries"
    assert "the 6 of 550 entries" in embedding.get_suptitle()
    narrowing = belief_plots.narrowing(drawn, "b")
    assert narrowing.axes[0].get_yscale() == "log"
    mean = next(line for line in narrowing.axes[0].lines if line.get_label() == "mean over trials")
    np.testing.assert_allclose(mean.get_ydata(), np.exp(-0.1 * np.arange(40)))
    along = belief_plots.along_the_trial(drawn, "b")
    assert sum(axes.get_visible() for axes in along.axes) == 12
    maps = attention_plots.attention_maps(drawn, "x")
    assert len(maps.axes) == 4 * 3 + 1
    assert "4 of 6 heads; lines: an episode begins" in maps.get_suptitle()
    shown = maps.axes[0].images[0].get_array()
    np.testing.assert_allclose(shown[7, :8].mean(), 1.0, rtol=1e-5)
    assert np.ma.getmaskarray(shown)[7, 8:].all()
