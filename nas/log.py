"""What a run says while it works: lines on stderr and in `log.txt`, and a progress bar."""

import sys
import time
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

_QUIET_S = 15.0


class Log:
    """Lines and progress. A terminal gets a bar; a file or a pipe a line now and then.

    Args:
        path: file to append to; None writes to stderr only.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._file = path.open("a", buffering=1) if path is not None else None
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._bar: Progress | None = None
        self._task = None
        self._label = ""
        self._said, self._said_s = 0, 0.0

    def __call__(self, text: str) -> None:
        """A line."""
        self._stop()
        self._console.print(text, markup=False)
        self._note(text)

    def progress(self, label: str, done: int, total: int, note: str = "") -> None:
        """How far the work of that label is."""
        if self._console.is_terminal:
            self._show(label, done, total, note)
            return
        now = time.monotonic()
        due = done != self._said and (done == total or now - self._said_s > _QUIET_S)
        if label != self._label or due:
            self._label, self._said, self._said_s = label, done, now
            text = f"{label}: {done}/{total} {note}".rstrip()
            sys.stderr.write(f"{text}\n")
            self._note(text)

    def _show(self, label: str, done: int, total: int, note: str) -> None:
        if self._bar is None or self._label != label:
            self._stop()
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed:.0f}/{task.total:.0f}"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
            )
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._bar.start()
            self._task = self._bar.add_task(label, total=total, note=note)
            self._label = label
        if self._task is not None:
            self._bar.update(self._task, completed=done, total=total, note=note)

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar, self._task = None, None
        self._label = ""

    def _note(self, text: str) -> None:
        if self._file is not None:
            self._file.write(
                f"{datetime.now().astimezone().isoformat(timespec='seconds')} {text}\n"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()
        if self._file is not None:
            self._file.close()
