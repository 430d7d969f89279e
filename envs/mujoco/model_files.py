"""Every file that an MJCF model is made of: itself, what it includes, meshes, height fields, textures."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

from envs.errors import TaskError

_DIRECTORIES = {
    "mesh": "meshdir",
    "skin": "meshdir",
    "flexcomp": "meshdir",
    "hfield": "meshdir",
    "texture": "texturedir",
    "model": "",
}
_NAMED = ("file", "fileright", "fileleft", "fileup", "filedown", "filefront", "fileback")


def files_of(path: Path) -> list[Path]:
    """All files that MuJoCo loads for this model, the model's own first, the others by name.

    Raises:
        TaskError: one of them is not there.
    """
    texts = list(_texts(path, path.parent))
    compiler: dict[str, str] = {}
    for _, root in texts:
        for element in root.iter("compiler"):
            compiler |= element.attrib
    found = {file for file, _ in texts}
    for _, root in texts:
        for kind, option in _DIRECTORIES.items():
            for element in root.iter(kind):
                folder = path.parent / compiler.get(option, compiler.get("assetdir", "") if option else "")
                for name in (element.get(key) for key in _NAMED):
                    if name is None:
                        continue
                    if compiler.get("strippath") == "true":
                        name = Path(name).name
                    file = folder / name
                    if not file.is_file():
                        raise TaskError(f"{path} names the {kind} file {name}, but there is no {file}")
                    found |= set(files_of(file)) if kind == "model" else {file}
    return [path, *sorted(found - {path})]


def _texts(path: Path, folder: Path) -> Iterator[tuple[Path, ElementTree.Element]]:
    """The model file and those that it includes, which are named from the model file's folder."""
    try:
        root = ElementTree.fromstring(path.read_bytes())
    except (OSError, ElementTree.ParseError) as error:
        raise TaskError(f"{path} cannot be read as XML ({error})") from error
    yield path, root
    for element in root.iter("include"):
        file = folder / element.get("file", "")
        if not file.is_file():
            raise TaskError(f"{path} includes {element.get('file')}, but there is no file {file}")
        yield from _texts(file, folder)


def copies_of(files: Iterable[Path], largest: int) -> dict[str, Path]:
    """Names under which the files may be copied, so that they find each other there; {} if they are too large.

    Args:
        files: a description and those of its model, which name each other by relative paths.
        largest: bytes of all together.
    """
    # Links stay links: a file is found by the name that others call it by.
    found = [Path(os.path.abspath(file)) for file in files]  # noqa: PTH100 - Path.absolute leaves .. in
    if sum(file.stat().st_size for file in found) > largest:
        return {}
    together = Path(os.path.commonpath([file.parent for file in found]))
    return {file.relative_to(together).as_posix(): file for file in found}


def digest_of(files: Sequence[Path]) -> str:
    """The SHA-256 of a description, which is the first, and of every file of its model."""
    digest = hashlib.sha256(files[0].read_bytes())
    for file in files[1:]:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
