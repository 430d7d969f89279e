import json
import pickle
import random
import shutil

import pytest
import torch

from trainers.errors import RunFolderError
from trainers.runs import checkpoints

STATE = {
    "weights": {"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(0)},
    "adam": {"state": {0: {"step": torch.tensor(3.0)}}, "groups": [{"lr": 0.1, "betas": (0.9, 0.999), "fused": None}]},
    "note": "text",
}


def test_round_trip(tmp_path):
    path = checkpoints.save(tmp_path, 12, "maml", STATE)
    iteration, state = checkpoints.load(path, "maml")
    assert iteration == 12
    assert torch.equal(state["weights"]["a"], STATE["weights"]["a"])
    assert state["weights"]["b"].shape == (0,)
    assert state["adam"]["state"][0]["step"].item() == 3.0
    assert state["adam"]["groups"] == [{"lr": 0.1, "betas": [0.9, 0.999], "fused": None}]
    assert checkpoints.newest(tmp_path) == path
    assert not list(tmp_path.glob(".writing*"))


def test_only_the_newest_are_kept(tmp_path):
    for iteration in (1, 2, 10):
        checkpoints.save(tmp_path, iteration, "maml", STATE)
    checkpoints.prune(tmp_path, 2)
    assert [one.name for one in sorted(tmp_path.iterdir())] == ["iteration-000002", "iteration-000010"]


@pytest.mark.parametrize("name", ["state.json", "tensors.safetensors"])
def test_every_cut_and_every_flipped_bit_is_refused(tmp_path, name):
    path = checkpoints.save(tmp_path, 1, "maml", STATE)
    whole = (path / name).read_bytes()
    rng = random.Random(0)
    damaged = [whole[: rng.randrange(len(whole))] for _ in range(20)]
    for _ in range(30):
        place, bit = rng.randrange(len(whole)), rng.randrange(8)
        damaged.append(whole[:place] + bytes([whole[place] ^ (1 << bit)]) + whole[place + 1 :])
    for content in damaged:
        (path / name).write_bytes(content)
        with pytest.raises(RunFolderError, match="is refused"):
            checkpoints.load(path, "maml")
        assert (path / name).read_bytes() == content, "reading changes nothing"


class _Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a checkpoint was executed",))


@pytest.mark.parametrize(
    "content",
    [pickle.dumps(_Bomb()), b"", b"[]", b"{}", b'{"format": "another"}', b"[" * 100_000, b"\xff\xfe"],
)
def test_foreign_and_hostile_files_are_refused_and_never_executed(tmp_path, content):
    path = checkpoints.save(tmp_path, 1, "maml", STATE)
    for name in ("state.json", "tensors.safetensors"):
        (path / name).write_bytes(content)
    with pytest.raises(RunFolderError, match="is refused"):
        checkpoints.load(path, "maml")


def test_a_checkpoint_of_another_algorithm_is_refused(tmp_path):
    path = checkpoints.save(tmp_path, 1, "pearl", STATE)
    with pytest.raises(RunFolderError, match="of the algorithm pearl, the run's is maml"):
        checkpoints.load(path, "maml")


def test_a_tensor_swapped_between_checkpoints_is_refused(tmp_path):
    first = checkpoints.save(tmp_path, 1, "maml", STATE)
    second = checkpoints.save(tmp_path, 2, "maml", STATE | {"weights": {"a": torch.ones(2, 3), "b": torch.zeros(0)}})
    shutil.copy(first / "tensors.safetensors", second / "tensors.safetensors")
    with pytest.raises(RunFolderError, match="cut or changed"):
        checkpoints.load(second, "maml")


def test_nothing_that_could_execute_can_be_saved(tmp_path):
    with pytest.raises(TypeError, match="not _Bomb"):
        checkpoints.save(tmp_path, 1, "maml", {"bomb": _Bomb()})


def test_no_checkpoint_is_a_sentence(tmp_path):
    with pytest.raises(RunFolderError, match="holds no checkpoint"):
        checkpoints.newest(tmp_path / "checkpoints")


def test_a_folder_that_cannot_be_written_leaves_earlier_ones_whole(tmp_path):
    first = checkpoints.save(tmp_path, 1, "maml", STATE)
    (tmp_path / "iteration-000002").write_text("in the way")
    with pytest.raises(RunFolderError, match="could not be written"):
        checkpoints.save(tmp_path, 2, "maml", STATE)
    assert checkpoints.load(first, "maml")[0] == 1
    assert json.loads((first / "state.json").read_text())["format"] == checkpoints.FORMAT
