"""The options of the demo."""

from dataclasses import dataclass
from pathlib import Path

from stack.broker import BrokerKind
from stack.redis_server import RedisKind
from vedette.errors import InputError
from vedette.settings import DecisionSettings, WorkerSettings

LIVE_RATE = 1_000.0
"""Transactions per second that a user can still follow."""

LINGER_S = 60.0
"""Seconds that a demo without options stays up after everything is settled, so that its pages can be viewed."""

SIMULATED = 50_000
"""Default number of simulated transactions."""


@dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """One demo.

    Args:
        transactions: Largest number; None is SIMULATED, or the whole of a file.
        leave: End as soon as everything is settled instead of LINGER_S later.
        stay: Stay up until Ctrl-C.
        file: Source of the transactions; None simulates them.
        mapping: Mapping of the file's columns.
        since_ms: Start of the stream; earlier rows of the file are history. Milliseconds since 1970 UTC.
        until_ms: End of the stream, exclusive.
        broker: Kind of broker to start.
        redis: Kind of Redis to start.
        rate: Transactions per second, 0 is flat out; None is flat out with `leave`, else LIVE_RATE.
        seed: Seed of the simulated transactions.
        directory: Folder of data and logs, new or empty; None takes a temporary one.
        decisions: Model and policy; the shipped ones by default.
        worker: Settings of the worker.
    """

    transactions: int | None = None
    leave: bool = False
    stay: bool = False
    file: Path | None = None
    mapping: str = ""
    since_ms: int | None = None
    until_ms: int | None = None
    broker: BrokerKind = "embedded"
    redis: RedisKind = "embedded"
    rate: float | None = None
    seed: int = 1
    directory: Path | None = None
    decisions: DecisionSettings
    worker: WorkerSettings

    def __post_init__(self) -> None:
        if self.leave and self.stay:
            raise InputError("--exit and --stay contradict each other", remedy="give one of them, or neither")
        if self.file and not self.mapping:
            raise InputError(f"--input {self.file} needs the meaning of its columns", remedy="add --mapping NAME")
        if not self.file and (self.mapping or self.since_ms is not None or self.until_ms is not None):
            raise InputError("--mapping, --from and --to apply to a file only", remedy="add --input FILE")
        if self.since_ms is not None and self.until_ms is not None and self.since_ms >= self.until_ms:
            raise InputError("--from is not before --to, so there is nothing between them")
        if self.directory and self.directory.exists() and any(self.directory.iterdir()):
            raise InputError(
                f"--dir {self.directory} is not empty", remedy="name a new or empty one: every demo starts from nothing"
            )

    @property
    def linger_s(self) -> float | None:
        """Seconds to stay after everything is settled; None is until Ctrl-C."""
        if self.stay:
            return None
        return 0.0 if self.leave else LINGER_S

    @property
    def per_second(self) -> float:
        """Transactions per second, 0 is flat out."""
        if self.rate is not None:
            return self.rate
        return 0.0 if self.leave else LIVE_RATE

    @property
    def limit(self) -> int:
        """Largest number of transactions; 0 is all there are."""
        if self.transactions is not None:
            return self.transactions
        return 0 if self.file else SIMULATED
