"""Settings of this process: memory allocator, threads, cores."""

from __future__ import annotations

import ctypes
import math
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import torch

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEEP_BYTES = 1 << 30


def keep_freed_memory() -> None:
    """Makes glibc keep freed blocks: fresh pages for every tensor cost small programs a factor of 1.5 to 1.9.

    Elsewhere (macOS, musl) there is no such knob and no such cost, so nothing is done.
    """
    if sys.platform.startswith("linux"):
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, _KEEP_BYTES)
            mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES)


def usable_cores(cgroups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """Cores that this process may use: those it may run on, or as many as its cgroup's quota of time fills."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota(cgroups, own)
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def cpu_quota(cgroups: Path, own: Path) -> float | None:
    """Cores' worth of time that cgroups (version 1 or 2) grant this process; None without a limit.

    Args:
        cgroups: where cgroups are mounted.
        own: the file with the cgroups of this process. In a container it may name folders that are mounted as the
            root there, so those of the root count too.
    """
    quotas = []
    for line in own.read_text().splitlines() if own.is_file() else []:
        _, controllers, name = line.split(":", 2)
        root = cgroups if not controllers else cgroups / controllers
        if controllers and "cpu" not in controllers.split(","):
            continue
        for folder in [root, *(root / part for part in _and_parents(name.strip("/")))]:
            quotas += _version_1(folder) if controllers else _version_2(folder)
    return min(quotas, default=None)


def _and_parents(name: str) -> list[str]:
    parts = name.split("/") if name else []
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _version_2(folder: Path) -> list[float]:
    file = folder / "cpu.max"  # "150000 100000" or "max 100000", microseconds
    quota, period = file.read_text().split() if file.is_file() else ("max", "1")
    return [] if quota == "max" else [int(quota) / int(period)]


def _version_1(folder: Path) -> list[float]:
    files = folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us"
    if not all(file.is_file() for file in files):
        return []
    quota, period = (int(file.read_text()) for file in files)
    return [quota / period] if quota > 0 else []


def auto_threads() -> int:
    """Threads that `learner_threads: auto` means: what OMP_NUM_THREADS or MKL_NUM_THREADS says, else usable cores."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        first = os.environ.get(name, "").partition(",")[0].strip()  # OpenMP allows a list, one for each nesting
        if first.isdecimal() and int(first):
            return int(first)
    return usable_cores()


def instruction_set() -> str:
    """The instructions that torch computes with, such as AVX512: another set may give other last bits."""
    return torch.backends.cpu.get_cpu_capability()


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Torch computes with `count` threads inside; sampling uses one, so that its last bits are the same everywhere."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def gradients_in_this_thread() -> AbstractContextManager[None]:
    """Gradients that are taken inside have one order of summation, also on a GPU.

    There PyTorch takes them in a thread of its own, and where a gradient of gradients may go either of two ways first,
    it goes by the age of operations, which each thread counts for itself: MAML's first meta-gradient in a process
    differed from the same one later in its last bits (measured on an H200), so a resumed run from an uninterrupted one.
    https://docs.pytorch.org/docs/stable/generated/torch.autograd.grad_mode.set_multithreading_enabled.html
    """
    mode: AbstractContextManager[None] = torch.autograd.set_multithreading_enabled(False)
    return mode


def prepare_gpu(device: torch.device, *, deterministic: bool) -> None:
    """Have a GPU compute as the CPU does: whole float32, and where it is asked for the same bits in every run.

    The worker that acted computed in float32 on the CPU: in TensorFloat-32, which cuDNN's recurrent networks take by
    default, the first ratios of probabilities would not be 1. https://docs.pytorch.org/docs/stable/notes/cuda.html and
    https://docs.pytorch.org/docs/stable/notes/randomness.html. Nothing is changed for another device.
    """
    if device.type != "cuda":
        return
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark = False  # would choose other algorithms from run to run
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
        torch.backends.cudnn.deterministic = True
        torch.use_deterministic_algorithms(True, warn_only=True)  # an operation that has none is named, once
        torch.backends.cuda.enable_mem_efficient_sdp(False)  # attention whose gradients atomic additions sum
        setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010, which would cost time
