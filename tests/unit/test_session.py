"""Training from Python: families of the script's own, callbacks, threads, interrupts, notebooks."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import types

import numpy as np
import pytest
import torch

import acclimate
from examples.own_agent import CROSS_ENTROPY
from tests.helpers import LineFamily, LineWalk
from trainers import notebook, session
from trainers.errors import RecipeError, UserError
from trainers.runs import checkpoints
from trainers.runs.metrics import read

SMALL = {
    "iterations": 3,
    "workers": 0,
    "learner_threads": 1,
    "agent": {"name": "maml", "meta_batch_size": 2, "rollouts": 2, "hidden_sizes": [8]},
    "evaluation": {"every": 0, "validation_tasks": 2, "held_out_tasks": 2, "rounds": 1, "rollouts": 2},
}


def train(out, **keys):
    return acclimate.train(out=out, **({"family": LineFamily, "progress": False} | SMALL | keys))


def test_a_class_and_an_agent_are_all_that_is_needed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    class Line(LineFamily):
        name = "my_line-v1"

    outcome = acclimate.train(family=Line, **SMALL)
    assert (outcome.iteration, outcome.stopped_by) == (3, None)
    assert re.fullmatch(r"runs/my_line-v1_maml-\d{8}-\d{6}", str(outcome.run.path))
    assert len(outcome.run.adaptation()) == 8
    assert len(outcome.run.metrics()) == 3
    assert acclimate.load(outcome.run).family.name == "my_line-v1"
    assert acclimate.evaluate(outcome.run)["family"] == "my_line-v1"
    printed = " ".join(capsys.readouterr().out.split())
    assert f"→ {outcome.run.path}" in printed
    assert "meta-update 3: validation return" in printed
    second = acclimate.train(family=Line, **SMALL, progress=False).run.path
    assert second != outcome.run.path
    assert not capsys.readouterr().out


@pytest.mark.parametrize("family", [LineFamily(), "tests.helpers:LineFamily"], ids=["instance", "name"])
def test_instances_and_names_do_as_well(tmp_path, family):
    assert train(str(tmp_path / "run"), family=family, iterations=1).run.family().name == "line-v1"


def test_keys_change_a_recipe_by_name_by_path_or_as_it_is(tmp_path):
    keys = {"agent": SMALL["agent"], "evaluation": SMALL["evaluation"], "iterations": 1, "workers": 0}
    few = "agent.rollouts=3"
    named = acclimate.train("point_nav_maml", tmp_path / "a", **keys, progress=False, overrides=few).run
    assert (named.recipe.family, named.recipe.agent.rollouts, named.recipe.iterations) == ("point_nav-v1", 3, 1)
    again = acclimate.train(named.recipe, tmp_path / "b", seed=5, progress=False).run
    assert again.recipe == named.recipe.model_copy(update={"seed": 5})
    filed = acclimate.train(named.path / "config.yaml", tmp_path / "c", family=LineFamily, progress=False).run
    assert filed.recipe.family == "tests.helpers:LineFamily"
    with pytest.raises(RecipeError, match=r"iteratons.*iterations"):
        train(tmp_path / "d", iteratons=2)
    assert not (tmp_path / "d").exists()


def test_an_algorithm_of_ones_own_is_an_agent(tmp_path):
    agent = {"name": CROSS_ENTROPY, "meta_batch_size": 2, "rollouts": 3}
    run = train(tmp_path / "run", agent=agent, iterations=1).run
    assert run.recipe.agent_name == "examples.own_agent:CROSS_ENTROPY"


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"family": 5}, r"family is 5, but must be a name, a subclass of TaskFamily"),
        ({"family": LineWalk}, r"LineWalk'>, but must be a name, .* becomes a family by a TaskFamily whose make_env"),
        ({"family": "__main__:Mine"}, r"was defined in a script, a notebook or a function of another process"),
        ({"agent": 3}, r"agent is 3, but must be a name, a mapping of name and keys"),
        ({"agent": {"nam": "maml"}}, r"agent must be the name of an agent, or a section with a name"),
        ({"agent": {"name": "maml", "hidden_sizes": {1}}}, r"agent is .*, but a recipe holds numbers, texts, lists"),
        ({"iterations": "many"}, r"the given keys.*iterations is 'many', but must be a whole number"),
        ({"callbacks": [3]}, r"callbacks holds 3, which cannot be called"),
        ({"overrides": [3]}, r"overrides holds 3; give texts such as"),
        ({"recipe": "nope"}, r"there is no recipe nope"),
        ({"recipe": "point_nav_maml", "evaluation": 3}, r"with the given keys: evaluation is 3, but must be a section"),
    ],
)
def test_mistakes_are_typed_sentences_and_make_no_folder(tmp_path, keys, says):
    with pytest.raises(UserError, match=says):
        train(tmp_path / "run", **keys)
    assert not any(tmp_path.iterdir())


def test_numbers_of_numpy_and_tuples_are_plain(tmp_path):
    agent = SMALL["agent"] | {"hidden_sizes": (np.int64(8),)}
    recipe = train(tmp_path / "run", iterations=np.int64(1), agent=agent).run.recipe
    assert (recipe.iterations, recipe.agent.hidden_sizes) == (1, (8,))


# -- callbacks


def test_callbacks_are_given_every_update_and_may_stop(tmp_path):
    seen = []

    def until_two(update):
        seen.append((update.iteration, update.metrics["iteration"], update.run.path))
        return update.iteration == 2

    outcome = train(tmp_path / "run", callbacks=[until_two])
    assert seen == [(1, 1, tmp_path / "run"), (2, 2, tmp_path / "run")]
    assert (outcome.iteration, outcome.stopped_by) == (2, "callback")
    assert checkpoints.iterations(tmp_path / "run" / "checkpoints")[-1] == 2
    rest = acclimate.resume(outcome.run, callbacks=lambda update: update.stop(), progress=False)
    assert (rest.iteration, rest.stopped_by) == (3, None), "the last iteration ends the run anyway"
    straight = train(tmp_path / "straight")
    weights, others = (run.load(run.family())[1] for run in (rest.run, straight.run))
    assert all(torch.equal(value, others[name]) for name, value in weights.items()), "to the same bits"
    assert len(rest.run.adaptation()) == len(straight.run.adaptation())


@pytest.mark.parametrize("kind", [ZeroDivisionError, SystemExit])
def test_an_exception_of_a_callback_is_raised_after_the_checkpoint(tmp_path, kind):
    def fails(update):
        raise kind("mine")

    with pytest.raises(kind, match="mine"):
        train(tmp_path / "run", callbacks=[fails])
    assert checkpoints.iterations(tmp_path / "run" / "checkpoints")[-1] == 1
    assert [line["iteration"] for line in read(tmp_path / "run" / "metrics.jsonl")] == [1]


def test_a_report_is_called_in_the_displays_place_and_may_stop(tmp_path, capsys):
    lines = []

    def report(metrics):
        lines.append(metrics)
        return True

    outcome = acclimate.train(None, tmp_path / "run", report, family=LineFamily, **SMALL)
    assert (len(lines), outcome.stopped_by) == (1, "callback")
    assert not capsys.readouterr().out


# -- workers, threads and interrupts


@pytest.mark.ray
def test_classes_and_modules_of_a_script_reach_its_workers(tmp_path, shared_ray, monkeypatch):
    """A class that no module holds travels by value; a module that only this process's path leads to is found."""

    class Local(LineFamily):
        name = "local-v1"

    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "beside_the_script.py").write_text(
        "from tests.helpers import LineFamily\nclass Beside(LineFamily):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "beside")
    for number, family in enumerate((Local, "beside_the_script:Beside")):
        ours = train(tmp_path / f"{number}-0", family=family, iterations=1).run
        theirs = train(tmp_path / f"{number}-1", family=family, iterations=1, workers=1).run
        assert ours.metrics()["return_round_1"].equals(theirs.metrics()["return_round_1"])


def test_in_a_thread_it_trains_and_leaves_signals_alone(tmp_path):
    before, outcomes = signal.getsignal(signal.SIGINT), []
    during = []

    def work():
        watch = [lambda update: during.append(signal.getsignal(signal.SIGINT))]
        outcomes.append(train(tmp_path / "run", callbacks=watch, progress=True))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [outcome.stopped_by for outcome in outcomes] == [None]
    assert during == [before] * 3


def test_an_interrupt_stops_with_a_checkpoint_and_the_script_goes_on(tmp_path, capsys):
    def interrupts(update):
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    outcome = train(tmp_path / "run", callbacks=[interrupts], progress=True)
    assert (outcome.iteration, outcome.stopped_by) == (1, "SIGINT")
    assert checkpoints.iterations(tmp_path / "run" / "checkpoints")[-1] == 1
    assert signal.getsignal(signal.SIGINT) is before
    printed = " ".join(capsys.readouterr().out.split())
    assert f"after 1 of 3 meta-updates; go on with: acclimate.resume('{tmp_path / 'run'}')" in printed


# -- notebooks


class Handle:
    """The handle that IPython's display gives back."""

    def __init__(self, shown):
        self.shown = shown

    def update(self, bundle, raw):
        assert raw
        self.shown.append(bundle)


def test_a_notebook_draws_its_progress(tmp_path, monkeypatch):
    shown = []

    def display(bundle, raw, display_id):
        assert raw
        assert display_id
        shown.append(bundle)
        return Handle(shown)

    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", types.SimpleNamespace(display=display))
    monkeypatch.setattr(session.console, "is_jupyter", True)
    monkeypatch.setattr(session, "say", lambda sentence: None)
    train(tmp_path / "run", progress=True, evaluation=SMALL["evaluation"] | {"every": 1})
    first, last = shown[0], shown[-1]
    assert "0 of 3 meta-updates" in first["text/plain"]
    assert '<progress value="3" max="3"' in last["text/html"]
    lines = last["text/plain"].splitlines()
    assert lines[0] == "maml on tests.helpers:LineFamily, seed 0"
    assert lines[1].startswith("3 of 3 meta-updates   return ")
    kept = [line.partition(":")[0].split() for line in lines[2:]]
    assert kept == [["meta-update", str(number)] for number in (1, 2, 3)]


def test_a_notebooks_text_is_no_markup_and_says_what_is_left(monkeypatch):
    monkeypatch.setattr(notebook.time, "monotonic", iter([10.0, 10.0, 40.0, 40.0, 40.0]).__next__)
    shown = notebook.NotebookDisplay("a<b", 10)
    shown._handle = Handle([])
    metrics = {"return_round_0": 1.0, "steps_per_second": 5.0}
    shown.report(metrics | {"iteration": 2})
    shown.report(metrics | {"iteration": 4})
    bundle = shown._handle.shown[-1]
    assert bundle["text/html"].startswith("<b>a&lt;b</b>")
    assert "1:30 left" in bundle["text/plain"], "6 updates of 15 s"


@pytest.mark.parametrize("every", [0, 1])
def test_a_run_that_stopped_before_its_end_says_so_where_its_curve_is_wanted(tmp_path, every):
    evaluation = SMALL["evaluation"] | {"every": every}
    run = train(tmp_path / "run", evaluation=evaluation, callbacks=lambda update: True).run
    for wanted in (lambda: acclimate.plot(run, "adaptation_curve"), lambda: acclimate.plot([run]), run.adaptation):
        with pytest.raises(UserError, match=r"^\S+ has no .*rows.*acclimate resume") as refused:
            wanted()
        assert "\n" not in str(refused.value)


def test_a_script_that_trains_is_not_imported_for_its_family(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "trains_at_once.py").write_text(
        "import acclimate\nfrom tests.helpers import LineFamily\n\n\nclass Mine(LineFamily):\n    pass\n\n\n"
        "acclimate.train(family=Mine, agent='maml')\n"
    )
    for _ in range(2):
        with pytest.raises(RecipeError, match=r"^trains_at_once trains when it is imported.*__main__"):
            acclimate.train(family="trains_at_once:Mine", agent="maml", progress=False)
    assert not (tmp_path / "runs").exists()
    assert train(tmp_path / "run", iterations=1).iteration == 1
