"""The demo on the screen: a live view on a terminal, otherwise a plain line every few seconds."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from rich.console import Console
from rich.live import Live
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import RenderableType

    from demo.status import Status

_LINE_EVERY_S = 3.0
_DRAW_EVERY_S = 0.25


class DisplayConsole(Console):
    """A console that becomes silent when its terminal or pipe is closed, so that the demo continues to its totals."""

    def on_broken_pipe(self) -> None:
        """Write nothing more."""
        self.quiet = True

    def attempt(self, write: Callable[[], None]) -> None:
        """Write something, unless the output is closed."""
        try:
            write()
        except OSError:  # a terminal that was closed
            self.quiet = True


class Display(Protocol):
    """Shows a demo."""

    def say(self, text: str) -> None:
        """Show a sentence about the next step."""
        ...

    def warming(self, transactions: int) -> None:
        """Show how much of the history has been processed."""
        ...

    def show(self, status: "Status") -> None:
        """Show the status of the stream."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was."""
        ...


class PlainDisplay:
    """Lines of text, as for a log."""

    def __init__(self, console: DisplayConsole) -> None:
        self._console = console
        self._last = time.monotonic()
        self._shown: Status | None = None

    def say(self, text: str) -> None:
        """See Display."""
        self._print(f"demo: {text}")

    def warming(self, transactions: int) -> None:
        """See Display."""
        if time.monotonic() - self._last > _LINE_EVERY_S:
            self._print(f"demo: {transactions:,} earlier transactions processed")

    def show(self, status: "Status") -> None:
        """See Display."""
        from demo.views import line

        same_phase = self._shown is not None and self._shown.phase == status.phase
        if status == self._shown or (same_phase and time.monotonic() - self._last < _LINE_EVERY_S):
            return
        self._shown = status
        self._print(f"demo: {line(status)}")

    def close(self) -> None:
        """See Display."""

    def _print(self, line: str) -> None:
        self._last = time.monotonic()
        self._console.attempt(lambda: self._console.print(line, markup=False, highlight=False, soft_wrap=True))


class LiveDisplay:
    """A view that keeps its place on the terminal and is drawn again only when it has changed."""

    def __init__(self, console: DisplayConsole) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False)
        self._live.start()
        self._drawn: Status | None = None
        self._drawn_at = 0.0

    def say(self, text: str) -> None:
        """See Display."""
        # A link longer than the line is not broken.
        line = Text.assemble(("vedette demo", "bold"), f": {text}")
        self._console.attempt(lambda: self._console.print(line, highlight=False, soft_wrap=True))

    def warming(self, transactions: int) -> None:
        """See Display."""
        if time.monotonic() - self._drawn_at > _DRAW_EVERY_S:
            self._draw(Text(f"  {transactions:,} earlier transactions processed", style="dim"))

    def show(self, status: "Status") -> None:
        """See Display."""
        from demo.views import view

        if status == self._drawn or (not status.complete and time.monotonic() - self._drawn_at < _DRAW_EVERY_S):
            return
        self._drawn = status
        self._draw(view(status))

    def close(self) -> None:
        """See Display."""
        self._console.attempt(self._live.stop)

    def _draw(self, view: "RenderableType") -> None:
        self._drawn_at = time.monotonic()
        self._console.attempt(lambda: self._live.update(view, refresh=True))
