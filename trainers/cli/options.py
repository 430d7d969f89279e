"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

Family = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="in the place of the family that the run names: my_module:MyFamily or a path"),
]
