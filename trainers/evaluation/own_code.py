"""The user's own code as a part of what rows depend on: when it is edited, they are measured again."""

from __future__ import annotations

import hashlib
import inspect
from pathlib import Path
from typing import Any

_OURS = {"acclimate", "agents", "envs", "trainers"}


def code_digest(thing: Any) -> str | None:
    """16 hexadecimal digits of the SHA-256 of the module that defines a class or an instance; None for ours.

    A described family is known by its own digest, of its files.
    """
    thing = getattr(thing, "inner", thing)  # of a family that tells an oracle the task
    if getattr(thing, "digest", None):
        return str(thing.digest)[:16]
    kind = thing if isinstance(thing, type) else type(thing)
    if kind.__module__.partition(".")[0] in _OURS:
        return None
    try:
        file = inspect.getsourcefile(kind)
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16] if file else None
    except (OSError, TypeError):
        return None


def with_code(identity: dict[str, Any], **things: Any) -> dict[str, Any]:
    """The identity with the digests of what is the user's own."""
    found = {f"{name} code": digest for name, thing in things.items() if (digest := code_digest(thing)) is not None}
    return identity | found
