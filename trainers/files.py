"""Writing so that a reader, a crash or a full disk never meets half a file; reading only what is a plain file."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def read_bytes(path: Path) -> bytes:
    """The content of a regular file; OSError for anything else, such as a pipe that would never end."""
    if path.exists() and not path.is_file():
        raise OSError(None, "is not a regular file", str(path))
    return path.read_bytes()


def read_text(path: Path) -> str:
    """The content of a regular file as UTF-8, or OSError, UnicodeDecodeError."""
    return read_bytes(path).decode()


def write_synced(path: Path, content: bytes) -> None:
    """Writes a new file through to the disk; never through a link that lies in its place."""
    path.unlink(missing_ok=True)
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace(path: Path, content: bytes) -> None:
    """Puts the file in place as a whole: after a crash there is the old one or the new one."""
    temporary = path.with_name(f".{path.name}.writing")
    try:
        write_synced(temporary, content)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Makes renames in a folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def held(folder: Path, refusal: Exception) -> Iterator[None]:
    """Nobody else holds this folder meanwhile; raises `refusal` if somebody does."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise refusal from error
        yield
    finally:
        os.close(descriptor)


def json_bytes(data: Any, indent: int = 2) -> bytes:
    """JSON for a file that people read."""
    return (json.dumps(data, indent=indent) + "\n").encode()
