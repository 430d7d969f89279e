"""The agent and the family as they are sent to workers, with the user's own files where these run on other machines."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from pkgutil import extend_path
from typing import Any

from agents.contract import Agent
from envs.mujoco.model_files import copies_of, digest_of
from envs.task import TaskFamily
from trainers.cluster.own_files import OwnFiles, modules_in
from trainers.errors import RecipeError
from trainers.recipes import registry


def packed(agent: Agent, family: TaskFamily, *, elsewhere: bool) -> bytes:
    """The agent and the family as bytes that any process with Acclimate can unpack.

    Classes of a script or a notebook travel whole, those of a module by their names: the folders where this process
    finds its modules go along, for on this machine workers find them there too.

    Args:
        agent, family: to be sent.
        elsewhere: whether workers may run on other machines: the user's own modules, and the files that a described
            family was read from, travel too then.

    Raises:
        RecipeError: one of the two cannot be sent.
    """
    import ray

    for name, one in (("agent", agent), (f"family {family.name}", family)):
        try:
            ray.cloudpickle.dumps(one)
        except Exception as error:  # of any kind: objects bring their own ways of pickling
            raise RecipeError(
                f"the {name} cannot be sent to workers ({' '.join(str(error).split())[:200]}); make what cannot be "
                "pickled, such as locks and open files, in make_env, or set workers=0"
            ) from error
    both = _with_files((agent, family)) if elsewhere else ray.cloudpickle.dumps((agent, family))
    modules = modules_in(both) if elsewhere else []
    path = [os.path.abspath(folder) for folder in sys.path]  # noqa: PTH100 (an entry may be "", the working folder)
    return ray.cloudpickle.dumps((path, modules, both))


def unpacked(parcel: bytes) -> tuple[Agent, TaskFamily]:
    """The agent and the family; files of theirs that this machine lacks, or has otherwise, go to a temporary folder.

    Raises:
        ClusterError: they were too large to be sent.
        ImportError: a module is lacking.
    """
    import ray

    path, modules, both = ray.cloudpickle.loads(parcel)
    sys.path += [folder for folder in path if folder not in sys.path]
    _import_from(modules)
    return ray.cloudpickle.loads(both)


def _import_from(modules: Sequence[OwnFiles]) -> None:
    """Python finds these modules before any others of their names."""
    folders = [str(folder) for folder in (one.folder() for one in modules) if folder is not None]
    sys.path[:0] = [folder for folder in folders if folder not in sys.path]
    for name in {next(iter(one.digests)).partition("/")[0] for one in modules} & sys.modules.keys():
        if hasattr(package := sys.modules[name], "__path__"):  # a folder of the user's that is named as one of ours
            package.__path__ = extend_path(package.__path__, name)


def _with_files(things: Any) -> bytes:
    """The pickle of things, in which families that were read from files hold these."""
    import ray

    class Pickler(ray.cloudpickle.CloudPickler):
        def reducer_override(self, thing: Any) -> Any:
            described = sys.modules.get("envs.mujoco.described")  # MuJoCo is only needed by those who use it
            if described is None or not isinstance(thing, described.DescribedFamily):
                return super().reducer_override(thing)
            return _family_of, _description(tuple(thing.files), str(thing.digest))

    with io.BytesIO() as file:
        Pickler(file).dump(things)
        return file.getvalue()


@cache  # as they were at first: an edit since then must not reach some of the workers
def _description(files: tuple[Path, ...], digest: str) -> tuple[OwnFiles, str]:
    """The files of a described family, and the name of its description among them."""
    copies = copies_of(files, largest=sys.maxsize)
    read = OwnFiles.read(f"the family in {files[0]}", copies)
    if digest_of(files) != digest:
        raise RecipeError(f"{files[0]} or its model file was changed while it was in use; start again")
    return read, next(iter(copies))


def _family_of(files: OwnFiles, description: str) -> TaskFamily:
    """The family that the description of this name among the files makes."""
    folder = files.folder()
    return registry.described_family(str(files.places[description] if folder is None else Path(folder, description)))
