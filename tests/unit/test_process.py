import subprocess
import sys

import torch

from trainers.process import torch_threads


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
import os
print(os.environ["CUBLAS_WORKSPACE_CONFIG"])
"""


def test_a_gpu_computes_in_whole_float32_and_deterministically_where_asked():
    """The flags are there without a GPU; in a process of their own, for they are global."""
    done = subprocess.run([sys.executable, "-c", GPU], capture_output=True, text=True)
    assert done.stdout.strip() == ":4096:8", done.stderr
