"""Stop signals: the first Ctrl-C waits for the update; a second one, SIGTERM or a closed terminal abandons it.

Handlers are those of the main thread alone; in another one nothing is installed, and whoever calls stops the run by
`StopRequest.request`.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
AGAIN_S = 1.0  # until an `Abandoned` that was swallowed on its way is raised once more


class Abandoned(BaseException):
    """The current computation is given up; the state from before it is saved. Raised by signals."""


def silent(sentence: str) -> None:
    """Say nothing."""


class StopRequest:
    """The stop that the user's signals ask of a training loop.

    Only code within `abandonable` is ever interrupted: all else, such as writing a checkpoint, is finished first.

    Attributes:
        signal: the name of the first signal, or None.
        abandoned: whether to give up what is being computed.
        say: is given sentences for the user.
        seconds_left: how long the current update may still take, None if that is not known.
    """

    def __init__(self, say: Callable[[str], None] = silent) -> None:
        self.signal: str | None = None
        self.abandoned = False
        self.say = say
        self.seconds_left: Callable[[], float | None] = lambda: None
        self._open: list[bool] = []  # of each nested `abandonable`: whether the first Ctrl-C abandons it too
        self._shielded = False  # whether nothing is raised any more
        self._main: int | None = None  # the main thread, while handlers are installed there
        self._lock = threading.Lock()  # held while the main thread is signalled
        self._before: dict[int, object] = {}
        self._depth = 0

    def __enter__(self) -> StopRequest:
        self._depth += 1
        if self._depth == 1 and threading.current_thread() is threading.main_thread():
            self._main = threading.get_ident()
            for number in SIGNALS:
                if signal.getsignal(number) != signal.SIG_IGN:  # as nohup asks, and a shell's `&`
                    self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            with self._lock:
                self._main = None
            for number, handler in self._before.items():
                signal.signal(number, handler)  # type: ignore[arg-type]
            self._before.clear()

    def request(self, name: str) -> None:
        """Stop after this update, as if the first Ctrl-C had come; `name` is what `signal` says then."""
        self.signal = self.signal or name

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Put the handlers back that somebody else replaces in the body; Ray does."""
        held = {number: signal.getsignal(number) for number in SIGNALS} if self._main is not None else {}
        try:
            yield
        finally:
            for number, handler in held.items():
                signal.signal(number, handler)

    @contextmanager
    def abandonable(self, *, at_once: bool = False) -> Iterator[None]:
        """The body may be interrupted by `Abandoned`; with `at_once` by the first Ctrl-C, since nothing is lost."""
        outside = len(self._open)
        try:
            self._open.append(at_once)
            if self.abandoned or (at_once and self.signal):
                self._abandon()
            yield
        except Exception as error:
            if self.abandoned and not self._shielded:  # a library made another error of it; Ray's `wait` does
                raise Abandoned from error
            raise
        finally:
            del self._open[outside:]

    def shield(self) -> None:
        """Nothing is abandoned from now on: what is left is to save and to leave."""
        self._shielded = True

    def renew(self) -> None:
        """Undo `shield`: the computations from now on may be abandoned."""
        self._shielded = False

    def _receive(self, number: int, frame: FrameType | None) -> None:
        first = self.signal is None
        if first:
            self.signal = signal.Signals(number).name
        if number == signal.SIGINT and first and not (self._open and self._open[-1]):
            # In a thread of its own: the main one may be amid a line of the same console.
            threading.Thread(target=self.say, args=(self._promise(),), daemon=True).start()
            return
        self._abandon()

    def _abandon(self) -> None:
        again, self.abandoned = self.abandoned, True
        if not again and self._main is not None:
            threading.Thread(target=self._insist, daemon=True).start()
        if self._open and not self._shielded:
            raise Abandoned

    def _insist(self) -> None:
        """Raise it again while the body goes on: a callback, or a bare `except` of the user's, may swallow it."""
        while not self._shielded:
            time.sleep(AGAIN_S)
            with self._lock:
                if self._main is None:
                    return
                if self._open and not self._shielded:
                    signal.pthread_kill(self._main, signal.SIGTERM)

    def _promise(self) -> str:
        seconds = self.seconds_left()
        span = "" if seconds is None else f", in about {max(seconds, 1):.0f} s"
        return (
            f"Ctrl-C: this meta-update is finished first{span}; then a checkpoint is written; Ctrl-C again abandons "
            "the update and saves the state from before it"
        )
