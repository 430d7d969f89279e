import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from trainers.cluster.learner_process import LearnerProcess
from trainers.process import torch_threads
from trainers.runs import facts
from trainers.training.learning import LearningHere


def test_threads_are_given_back():
    before = torch.get_num_threads()
    with torch_threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


GPU = """
import torch
from trainers.process import prepare_gpu
prepare_gpu(torch.device("cpu"), deterministic=True)
assert torch.backends.cudnn.allow_tf32 and not torch.are_deterministic_algorithms_enabled()
prepare_gpu(torch.device("cuda"), deterministic=False)
assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
assert torch.backends.cudnn.rnn.fp32_precision != "tf32"  # as torch calls it by its newer name
assert not torch.are_deterministic_algorithms_enabled()
prepare_gpu(torch.device("cuda:1"), deterministic=True)
assert torch.are_deterministic_algorithms_enabled() and torch.backends.cudnn.deterministic
assert not torch.backends.cuda.mem_efficient_sdp_enabled()
import os
print(os.environ["CUBLAS_WORKSPACE_CONFIG"])
"""


def test_a_gpu_computes_in_whole_float32_and_deterministically_where_asked():
    """The flags are there without a GPU; in a process of their own, for they are global."""
    done = subprocess.run([sys.executable, "-c", GPU], capture_output=True, text=True)
    assert done.stdout.strip() == ":4096:8", done.stderr


class WatchfulLearner:
    """Notes whether gradients would be taken in PyTorch's thread of the device."""

    def update(self, batch):
        self.elsewhere = torch._C._is_multithreading_enabled()
        return {}


@pytest.mark.parametrize("place", ["here", "in a group"])
def test_gradients_are_taken_in_the_thread_of_the_update(place, monkeypatch):
    """A gradient of gradients is summed in an order that depends on the past, where a GPU's thread takes it."""
    monkeypatch.setattr(facts, "concatenate", lambda trials: trials)
    monkeypatch.setattr(facts, "facts_of", lambda *_: None)
    learner, family = WatchfulLearner(), SimpleNamespace(reward_terms=(), action_space=None)
    if place == "here":
        learns = LearningHere(learner, family)
    else:
        learns = LearnerProcess.__new__(LearnerProcess)
        learns._learner, learns._family, learns._trials = learner, family, []
    learns.learn([])
    assert learner.elsewhere is False
    assert torch._C._is_multithreading_enabled()
