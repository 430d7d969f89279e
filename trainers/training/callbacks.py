"""Callbacks of a training run: told of each meta-update, and able to stop it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from trainers.runs.run_folder import Run
from trainers.stopping import Abandoned


@dataclass
class Update:
    """A meta-update that has just been made, as callbacks are given it.

    Attributes:
        iteration: meta-updates done, this one included.
        metrics: of this iteration, by name; `metrics.schema.json` in the run folder says what they mean.
        run: the folder, its recipe and what was measured so far.
    """

    iteration: int
    metrics: Mapping[str, float]
    run: Run
    stopping: bool = False

    def stop(self) -> None:
        """End the run here, with a checkpoint to resume it from."""
        self.stopping = True


Callback = Callable[[Update], object]


class Callbacks:
    """The report of a run that has callbacks; it asks for the stop that one of them asks for.

    An exception of a callback stops the run as well, so that its checkpoint is written first; `reraise` gives it back.
    """

    def __init__(
        self, run: Run, callbacks: Sequence[Callback], reports: Sequence[Callable[[Mapping[str, float]], object]]
    ) -> None:
        self._run, self._callbacks, self._reports = run, callbacks, reports
        self._raised: BaseException | None = None

    def __call__(self, metrics: Mapping[str, float]) -> bool:
        """Whether to stop after this iteration."""
        update = Update(int(metrics["iteration"]), dict(metrics), self._run)
        for report in self._reports:
            if report(metrics) is True:
                update.stop()
        for callback in self._callbacks:
            try:
                if callback(update) is True:
                    update.stop()
            except Abandoned:  # the user's signal, not the callback's own
                raise
            except BaseException as error:  # sys.exit() too
                self._raised = error
                return True
        return update.stopping

    def reraise(self) -> None:
        """The exception that a callback stopped the run with, if there was one."""
        if self._raised is not None:
            raise self._raised
