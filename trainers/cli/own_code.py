"""Errors in the user's own code, a family or an agent of theirs: its frames, without ours and the libraries'."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_OURS = tuple(f"{_ROOT / package}/" for package in ("acclimate", "agents", "envs", "trainers"))
_LIBRARIES = tuple(f"{sysconfig.get_path(name)}/" for name in ("stdlib", "platstdlib", "purelib", "platlib"))
_LONGEST = 20  # frames: of endless recursion the first and the last ones


def is_own(file: str) -> bool:
    """Whether a source file is the user's: none of Acclimate's, of Python's or of an installed package."""
    return not file.startswith(("<", *_OURS, *_LIBRARIES))


def own_frames(error: BaseException) -> list[str]:
    """Lines of the user's frames in an error, oldest first, and the error itself; [] where it arose elsewhere."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_own(frame.filename)]
    if not frames and not (isinstance(error, SyntaxError) and is_own(error.filename or "<")):
        return []
    if len(frames) > _LONGEST:
        frames = [*frames[: _LONGEST // 2], *frames[-_LONGEST // 2 :]]
    text = [*traceback.format_list(frames), *traceback.format_exception_only(error)]
    return "".join(text).rstrip().splitlines()


def own_cause(error: BaseException) -> list[str]:
    """The user's frames of whatever caused a user's error; [] without any."""
    cause = error.__cause__
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        if lines := own_frames(cause):
            return lines
        seen.add(id(cause))
        cause = cause.__cause__
    return []
