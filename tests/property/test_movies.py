"""Videos show the evaluator's own trial; machines that cannot draw are told what is missing."""

from __future__ import annotations

import ctypes.util
import os
import subprocess
import sys
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from envs.mujoco.camera import NoCamera, choose_gl
from envs.task import TaskError
from tests.helpers import TINY, call
from trainers.errors import DrawingError
from trainers.recipes import registry
from trainers.reporting import videos
from trainers.runs.run_folder import Run

CAN_DRAW = "MUJOCO_GL" in os.environ or any(map(ctypes.util.find_library, ("OSMesa", "EGL")))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of two updates for each family."""
    folder = tmp_path_factory.mktemp("runs")

    def train(family, **more):
        path = folder / family
        if not path.exists():
            words = [f"{key}={value}" for key, value in more.items()]
            result = call("train", "point_nav_maml", "--out", path, f"family={family}", *TINY, *words)
            assert result.exit_code == 0, result.output
        return path

    return train


def test_a_video_shows_the_returns_of_the_evaluation(trained, tmp_path):
    path = trained("point_nav-v1")
    out = tmp_path / "task.gif"
    result = call("render", path, "--task", 1, "--out", out)
    assert result.exit_code == 0, result.output
    rows = pq.read_table(path / "adaptation.parquet").to_pandas()
    rows = rows[(rows.split == "held-out") & (rows.task == 1)]
    for step, line in enumerate(result.output.splitlines()[:2]):
        mine = rows[(rows.adaptation_step == step)].sort_values("rollout")["return"]
        assert f"return {mine.iloc[0]:.2f} (mean of its round {mine.mean():.2f})" in line
    frames = imageio.mimread(out)
    assert frames[0].shape[1] > 2 * videos.PANEL[0]
    assert np.abs(frames[0][..., :3].astype(int) - frames[-1][..., :3].astype(int)).max() > 50, "something moves"


def test_a_task_that_is_not_there_and_a_name_that_is_no_video(trained, tmp_path):
    path = trained("point_nav-v1")
    far = call("render", path, "--task", 99)
    assert far.exit_code == 2
    assert "--task is 99, but the held-out set has tasks 0 to" in " ".join(far.output.split())
    odd = call("render", path, "--out", tmp_path / "film.txt")
    assert odd.exit_code == 2
    assert "ends in .mp4 or .gif" in " ".join(odd.output.split())
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not CAN_DRAW, reason="no OpenGL library that draws without a screen")
def test_mujoco_is_drawn_headless(tmp_path):
    """In a process of its own: how MuJoCo draws is chosen once, when it is imported."""
    script = (
        "import sys; from pathlib import Path; from envs.mujoco.camera import choose_gl; choose_gl()\n"
        "from trainers.recipes import registry; from trainers.reporting import videos\n"
        "videos.preview(registry.family('half_cheetah_steps-v1'), Path(sys.argv[1]), 2)"
    )
    out = tmp_path / "sheet.png"
    subprocess.run([sys.executable, "-c", script, str(out)], check=True, cwd=Path.cwd(), timeout=600)
    picture = np.asarray(Image.open(out))
    assert picture.shape[1] > 2 * videos.PANEL[0] - 10
    first = picture[60:300, 10:390].astype(int)
    assert first.std() > 10, "there is something to see"


def test_a_machine_that_cannot_draw_is_told_what_to_install(monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    if sys.platform != "darwin":
        with pytest.raises(NoCamera, match="apt install libosmesa6"):
            choose_gl()
    monkeypatch.setenv("MUJOCO_GL", "foo")
    with pytest.raises(NoCamera, match="MUJOCO_GL is foo"):
        choose_gl()


def test_an_episode_that_does_not_repeat_is_not_shown(trained, monkeypatch, tmp_path):
    path = trained("point_nav-v1")
    family = type(registry.family("point_nav-v1"))
    original = family.make_vector_env

    def other(self, tasks, rows):
        env = original(self, tasks, rows)
        step = env.step

        def worse(action):
            observation, reward, *rest = step(action)
            return observation, reward - (len(tasks) == rows == 1), *rest

        env.step = worse
        return env

    monkeypatch.setattr(family, "make_vector_env", other)
    with pytest.raises(DrawingError, match="do not follow from seed and actions"):
        videos.make_video(Run.open(path), 0, "held-out", None, "last", tmp_path / "task.gif")


def test_a_family_that_says_nothing_of_its_looks_is_refused():
    from tests.helpers import LineFamily

    family = LineFamily()
    with pytest.raises(DrawingError, match="plan_view"):
        videos.camera_of(family, family.sample(1, np.random.default_rng(0), "train")[0])
    with pytest.raises(TaskError):
        family.task(target_m=99.0)


@pytest.mark.parametrize("recipe", ["grid_navi_rl2", "grid_navi_varibad", "sparse_point_robot_pearl", "point_nav_maml"])
def test_every_agent_is_shown_episode_by_episode(recipe, tmp_path, monkeypatch):
    """Published runs: the returns of the panels are those of the rows, however many episodes a row plays in a round."""
    path = Path("docs/results") / recipe / "seed-0"
    run = Run.open(path)
    if run.family().plan_view(run.task_set(run.family(), "held-out").tasks[0]) is None:
        monkeypatch.setattr(
            videos, "camera_of", lambda family, task: lambda env, path: np.zeros((300, 400, 3), np.uint8)
        )
    made = videos.make_video(run, 1, "held-out", None, "last", tmp_path / "task.gif")
    rows = run.rows().to_pandas()
    rows = rows[(rows.split == "held-out") & (rows.task == 1) & (rows["repeat"] == 0) & (rows.rollout == 0)]
    wanted = rows.sort_values("adaptation_step")["return"].to_numpy()
    assert [panel["return"] for panel in made["panels"]] == pytest.approx(wanted[: len(made["panels"])], abs=2e-3)
    assert len(made["panels"]) == len(wanted) > 1
