"""What can be asked of the demo."""

from dataclasses import dataclass
from pathlib import Path

from stack.broker import BrokerKind
from stack.redis_server import RedisKind
from vedette.errors import InputError
from vedette.settings import WorkerSettings

LIVE_RATE = 1_000.0
"""Transactions per second that a person can still follow."""

SIMULATED = 50_000
"""Transactions of a simulated demo, unless told otherwise."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """One demo.

    Args:
        transactions: How many at most; None is SIMULATED, or the whole of a file.
        leave: End once everything is done, instead of staying up until Ctrl-C.
        file: Transactions come from here; None makes them up.
        mapping: What the file's columns mean.
        since_ms: The stream starts here; what the file has before is history. Milliseconds since epoch.
        until_ms: The stream ends before.
        broker: Which one to start.
        redis: Which one to start.
        rate: Transactions per second, 0 is flat out; None is flat out if it leaves, else LIVE_RATE.
        seed: Of the made-up transactions.
        directory: For data and logs, new or empty; None takes a temporary one.
        worker: Settings of the worker; its model and policy are those that ship, unless others are named.
    """

    transactions: int | None = None
    leave: bool = False
    file: Path | None = None
    mapping: str = ""
    since_ms: int | None = None
    until_ms: int | None = None
    broker: BrokerKind = "embedded"
    redis: RedisKind = "embedded"
    rate: float | None = None
    seed: int = 1
    directory: Path | None = None
    worker: WorkerSettings

    def __post_init__(self) -> None:
        if self.file and not self.mapping:
            raise InputError(f"--input {self.file} needs to know what the columns mean", remedy="add --mapping NAME")
        if not self.file and (self.mapping or self.since_ms is not None or self.until_ms is not None):
            raise InputError("--mapping, --from and --to are about a file", remedy="add --input FILE")
        if self.since_ms is not None and self.until_ms is not None and self.since_ms >= self.until_ms:
            raise InputError("--from is not before --to, so nothing lies between them")
        if self.directory and self.directory.exists() and any(self.directory.iterdir()):
            raise InputError(f"--dir {self.directory} is not empty", remedy="name a new one: every demo starts afresh")

    @property
    def per_second(self) -> float:
        """Transactions per second, 0 is flat out."""
        if self.rate is not None:
            return self.rate
        return 0.0 if self.leave else LIVE_RATE

    @property
    def most(self) -> int:
        """How many transactions at most; 0 is all there are."""
        if self.transactions is not None:
            return self.transactions
        return 0 if self.file else SIMULATED
