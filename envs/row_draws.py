"""Random numbers for environments with many short rows: each row's own stream, drawn in blocks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_BLOCK = 128  # draws at a time: one call of a generator costs as much as a few hundred of its numbers


class RowDraws:
    """One draw per row and step, from the row's own generator, so that the draws of a row never depend on the others.

    Args:
        rows: how many.
        draw: (generator, n) -> n draws, [n, *shape].
    """

    def __init__(self, rows: int, draw: Callable[[np.random.Generator, int], np.ndarray]) -> None:
        self._draw = draw
        shape = draw(np.random.default_rng(0), 1).shape[1:]
        self._block = np.zeros((rows, _BLOCK, *shape))
        self._next = np.full(rows, _BLOCK)

    def forget(self, rows: np.ndarray) -> None:
        """Discard the draws that are left for these rows: their generators are new."""
        self._next[rows] = _BLOCK

    def take(self, rows: np.ndarray, generator: Callable[[int], np.random.Generator]) -> np.ndarray:
        """Return the next draw of each of these rows, [len(rows), *shape]; `generator` gives a row's generator."""
        for row in rows[self._next[rows] == _BLOCK]:
            self._block[row] = self._draw(generator(int(row)), _BLOCK)
            self._next[row] = 0
        taken = self._block[rows, self._next[rows]]
        self._next[rows] += 1
        return taken
