"""Errors in the user's own code, a family or an agent of theirs: its frames, without ours and the libraries'."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Sequence
from pathlib import Path

from envs.errors import EnvironmentFailure

_ROOT = Path(__file__).resolve().parents[2]
_OURS = tuple(f"{_ROOT / package}/" for package in ("acclimate", "agents", "envs", "trainers"))
_LIBRARIES = tuple(f"{sysconfig.get_path(name)}/" for name in ("stdlib", "platstdlib", "purelib", "platlib"))
_LONGEST = 20  # frames: of endless recursion the first and the last ones


def is_own(file: str) -> bool:
    """Whether a source file is the user's: none of Acclimate's, of Python's or of an installed package."""
    return not file.startswith(("<", *_OURS, *_LIBRARIES))


def own_frames(error: BaseException) -> list[str]:
    """Lines of the user's frames in an error, oldest first, and the error itself; [] where it arose elsewhere."""
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError) and is_own(error.filename or "<"):
        return _lines([frame for frame in frames if is_own(frame.filename)], traceback.format_exception_only(error))
    return _own_lines(frames, traceback.format_exception_only(error))


def _own_lines(frames: Sequence[traceback.FrameSummary], raised: Sequence[str]) -> list[str]:
    """Lines of the user's frames among these, and what was raised there; [] without any."""
    own = [frame for frame in frames if is_own(frame.filename)]
    return _lines(own, raised) if own else []


def _lines(frames: list[traceback.FrameSummary], raised: Sequence[str]) -> list[str]:
    if len(frames) > _LONGEST:
        frames = [*frames[: _LONGEST // 2], *frames[-_LONGEST // 2 :]]
    return "".join([*traceback.format_list(frames), *raised]).rstrip().splitlines()


def own_cause(error: BaseException) -> list[str]:
    """The user's frames of whatever caused a user's error; [] without any."""
    if isinstance(error, EnvironmentFailure):  # maybe from a worker, without its cause
        return _own_lines(error.frames, error.raised)
    cause = error.__cause__
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        if lines := own_frames(cause):
            return lines
        seen.add(id(cause))
        cause = cause.__cause__
    return []
