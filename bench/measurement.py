"""Input and output of every benchmark."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stack.broker import BrokerKind
from stack.redis_server import RedisKind


@dataclass(frozen=True)
class Setup:
    """Setup of a benchmark.

    Args:
        directory: An empty folder for data and logs.
        broker: `apache` or `embedded`.
        redis: `system` or `embedded`.
        say: Called with a short text at each step.
    """

    directory: Path
    broker: BrokerKind
    redis: RedisKind
    say: Callable[[str], None] = lambda _: None

    def within(self, folder: str) -> "Setup":
        """Return the same setup in a separate folder."""
        return dataclasses.replace(self, directory=self.directory / folder)


class Measurement:
    """The base of what benchmarks return: dataclasses whose fields are the figures."""

    def values(self) -> dict[str, Any]:
        """Return the figures in JSON types."""
        return dataclasses.asdict(self)  # type: ignore[call-overload, no-any-return] # every child is a dataclass

    def lines(self) -> list[str]:
        """Return the figures as readable lines."""
        return [
            f"{name.replace('_', ' '):<18} {value:,}" if isinstance(value, int | float) else f"{name} {value}"
            for name, value in self.values().items()
        ]
