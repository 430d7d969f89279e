"""The user's own files that a worker on another machine needs: modules of families and agents, descriptions, models."""

from __future__ import annotations

import ast
import hashlib
import os
import pickletools
import platform
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec, resolve_name
from pathlib import Path

from trainers.errors import ClusterError

LARGEST = 100_000_000  # bytes of a package, or of a description with its model, that are sent to workers
_ROOT = Path(__file__).resolve().parents[2]
_OURS = ("acclimate", "agents", "envs", "trainers")
_LIBRARIES = tuple(
    f"{folder.resolve()}{os.sep}"
    for folder in (
        *(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        *(_ROOT / package for package in _OURS),
    )
)


@dataclass(frozen=True)
class OwnFiles:
    """Files that belong together, as they were when they were read.

    Attributes:
        name: of all of them, for messages.
        places: where each lies on the machine that read it, by the name that the others find it by.
        contents: of each; {} where they are too large to be sent.
        digests: SHA-256 of each; of a package that is too large, of its code alone.
    """

    name: str
    places: Mapping[str, str]
    contents: Mapping[str, bytes]
    digests: Mapping[str, str]

    @classmethod
    def read(cls, name: str, files: Mapping[str, Path]) -> OwnFiles:
        """The files by these names."""
        fits = sum(file.stat().st_size for file in files.values()) <= LARGEST
        code = {one: file for one, file in files.items() if file.suffix == ".py"}
        compared = files if fits or not code else code  # whatever else makes a package large may take long to read
        contents = {one: file.read_bytes() for one, file in compared.items()}
        digests = {one: hashlib.sha256(content).hexdigest() for one, content in contents.items()}
        return cls(name, {one: str(file) for one, file in compared.items()}, contents if fits else {}, digests)

    def lie_at(self, places: Mapping[str, str | Path]) -> bool:
        """Whether the same files are at these places of this machine."""
        for name, digest in self.digests.items():
            try:
                if hashlib.sha256(Path(places[name]).read_bytes()).hexdigest() != digest:
                    return False
            except OSError:
                return False
        return True

    def folder(self) -> Path | None:
        """A folder of this machine with the files by their names; None if they lie here where they were read.

        Raises:
            ClusterError: they do not, and were too large to be sent.
        """
        if self.lie_at(self.places):
            return None
        if not self.contents:
            raise ClusterError(
                f"{self.name} is too large to be sent to workers (more than {LARGEST // 1_000_000} MB), and "
                f"{platform.node()} has not the same in {os.path.commonpath(self.places.values())}; put it there on "
                "every node"
            )
        return self._unpacked()

    def _unpacked(self) -> Path:
        """The folder of this content in the temporary one, made once for all workers of a node."""
        kept = Path(tempfile.gettempdir()) / f"acclimate-{os.getuid()}"
        kept.mkdir(mode=0o700, exist_ok=True)
        owner = kept.lstat()
        if kept.is_symlink() or owner.st_uid != os.getuid() or owner.st_mode & 0o022:
            raise ClusterError(f"{kept} on {platform.node()} is another user's; remove it there, or set TMPDIR")
        known = hashlib.sha256("\0".join(f"{name}\0{digest}" for name, digest in sorted(self.digests.items())).encode())
        folder = kept / known.hexdigest()[:32]
        if self.lie_at({name: folder / name for name in self.digests}):
            return folder
        making = Path(tempfile.mkdtemp(dir=kept))
        for name, content in self.contents.items():
            (making / name).parent.mkdir(parents=True, exist_ok=True)
            (making / name).write_bytes(content)
        try:
            making.rename(folder)
        except OSError:  # another worker was first, or some of it was cleaned away
            if not self.lie_at({name: folder / name for name in self.digests}):
                return making
            shutil.rmtree(making)
        return folder


def modules_in(pickle: bytes) -> list[OwnFiles]:
    """The user's own modules that unpickling imports, and those that these import: a package as a whole."""
    texts = {text for _, text, _ in pickletools.genops(pickle) if isinstance(text, str)}
    waiting = [text for text in texts if text in sys.modules]
    found: dict[str, OwnFiles] = {}
    while waiting:
        unit = _unit(waiting.pop())
        if unit is not None and unit[0] not in found:
            found[unit[0]] = files = _files(*unit)
            waiting += [name for inside, file in files.places.items() for name in _imports(inside, Path(file))]
    return [found[name] for name in sorted(found)]


@cache
def _unit(module: str) -> tuple[str, Path] | None:
    """(name, file or folder) of the outermost package or module of the user's own that holds this one; None without.

    A folder without `__init__.py` holds some, and so does one that is named as a package of ours.
    """
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        name = ".".join(parts[:end])
        try:
            spec = find_spec(name)
        except (ImportError, ValueError, AttributeError):  # no module; __main__
            return None
        if spec is None or spec.origin in ("built-in", "frozen"):
            return None
        if spec.origin is None or name in _OURS:
            continue
        if not is_own(spec.origin):
            return None
        file = Path(spec.origin).absolute()
        return name, file.parent if spec.submodule_search_locations is not None else file
    return None


def is_own(file: str) -> bool:
    """Whether a source file is the user's: none of Acclimate's, of Python's or of an installed package."""
    path = Path(file).resolve()
    return path.is_file() and not (
        str(path).startswith(_LIBRARIES) or {"site-packages", "dist-packages"} & set(path.parts)
    )


@cache  # as they were when the process read them first: an edit since then must not reach some of the workers
def _files(module: str, place: Path) -> OwnFiles:
    """A module's file, or all files of a package's folder, by the names that they are imported by."""
    inside = module.replace(".", "/")
    if place.is_file():
        suffix = "".join(place.suffixes[-1:])
        return OwnFiles.read(f"the module {module} ({place})", {f"{inside}{suffix}": place})
    files = {f"{inside}/{file.relative_to(place).as_posix()}": file for file in sorted(_kept(place))}
    return OwnFiles.read(f"the package {module} ({place})", files)


def _kept(folder: Path) -> Iterator[Path]:
    """The files of a package, without caches, hidden folders and run folders."""
    for parent, folders, names in os.walk(folder):
        if "config.yaml" in names and "checkpoints" in folders:
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__pycache__"]
        yield from (Path(parent, name) for name in names if not name.endswith(".pyc") and Path(parent, name).is_file())


def _imports(inside: str, file: Path) -> list[str]:
    """Dotted names that a source file imports, in functions too; some are a module's attributes.

    `inside` is its name among the files of its module, such as robots/legs/family.py.
    """
    if file.suffix != ".py":
        return []
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):  # whoever imports it says so
        return []
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = inside.rpartition("/")[0].replace("/", ".")
            try:
                name = resolve_name("." * node.level + (node.module or ""), package)
            except ImportError:  # it leads out of everything
                continue
            found += [name, *(f"{name}.{alias.name}" for alias in node.names)]
    return found
