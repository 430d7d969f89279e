"""Making a run folder: all of it or nothing, also where the folder is there already and cannot be replaced."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainers.errors import RunFolderError
from trainers.files import sync_folder

_LAST = "config.yaml"  # what makes a folder a run folder


def refuse_used(path: Path) -> None:
    """Raise RunFolderError unless a run folder can be made at this path: nothing is there, or an empty folder."""
    if path.exists() and (not path.is_dir() or any(not _is_leftover(one) for one in path.iterdir())):
        raise RunFolderError(f"{path} already exists and is not empty; name another folder with --out")


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to write into, which is at `path` when the block ends, or nowhere if that failed.

    Raises:
        RunFolderError: there is something at `path`, or it cannot be written.
    """
    refuse_used(path)
    # The folder that a shell stands in, or a mounted one, is filled; any other is replaced as a whole.
    fill = path.is_dir() and (path.samefile(Path.cwd()) or os.path.ismount(path))
    absolute = path if path.name not in ("", "..") else path.resolve()
    making = path / f".making-{os.getpid()}" if fill else absolute.with_name(f".{absolute.name}.making-{os.getpid()}")
    leftovers = path.glob(".making-*") if fill else absolute.parent.glob(f".{absolute.name}.making-*")
    try:
        for leftover in leftovers:  # of a process that died here
            shutil.rmtree(leftover)
        making.mkdir(parents=True)
        yield making
        if fill:
            for entry in sorted(making.iterdir(), key=lambda entry: entry.name == _LAST):
                entry.rename(path / entry.name)
            making.rmdir()
            sync_folder(path)
        else:
            making.rename(path)
            sync_folder(absolute.parent)
    except OSError as error:
        shutil.rmtree(making, ignore_errors=True)
        raise RunFolderError(f"{path} cannot be written ({error.strerror}); name another folder with --out") from error
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise


def _is_leftover(path: Path) -> bool:
    return path.name.startswith(".making-")
