"""What-if runs: the price of a draft, computed in a process of its own so that pages stay quick.

Progress and result are in the database, so every process of the console shows them, and may ask for the end of a run.
"""

import multiprocessing
import os
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection as Pipe
from threading import Lock, Thread
from typing import Any, Literal

import msgspec
from sqlalchemy import Engine, insert, select, update

from access.ports import AuditSink
from console.changes.tables import whatif_runs
from streams.history.policy_price import PolicyPrice
from vedette.clock import DAY, SECOND, Clock
from vedette.errors import InputError, VedetteError
from vedette.settings import Settings

RunState = Literal["running", "done", "failed", "cancelled"]

_LOOK_S = 0.5
_LOST = 30 * SECOND
"""Without a sign of life for this long, the process that computed it has ended."""


class WhatifRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run. Times are milliseconds since 1970 UTC.

    Attributes:
        id: Its number.
        proposal_id: The draft.
        revision: The draft's revision.
        who: Who asked.
        state: How far it has come.
        stage: What is being done; why it failed.
        done: How much of it is done.
        total: How much there is, if known.
        days: Length of the span in days; 0: everything.
        started_at: When it began.
        seen_at: Its last sign of life.
        cancelled: Whether somebody asked for its end.
        result: The price as JSON, once done.
    """

    id: int
    proposal_id: int
    revision: int
    who: str
    state: RunState
    stage: str
    done: int
    total: int | None
    days: int
    started_at: int
    seen_at: int
    cancelled: bool
    result: str

    @property
    def price(self) -> PolicyPrice | None:
        """Return the result, if there is one."""
        return msgspec.json.decode(self.result, type=PolicyPrice) if self.result else None


class WhatifRuns:
    """Starts, follows and ends runs; one at a time in each process.

    Args:
        engine: The database.
        audit: The audit log.
        clock: The clock.
        settings: Settings of the deployment, for the process that computes.
        log: A structlog logger.
    """

    def __init__(self, engine: Engine, audit: AuditSink, clock: Clock, settings: Settings, log: Any) -> None:
        self._engine, self._reading = engine, engine.execution_options(reads=True)
        self._audit, self._clock, self._settings, self._log = audit, clock, settings, log
        self._lock = Lock()
        self._thread: Thread | None = None
        self._closing = False

    def start(self, draft: int, revision: int, files: Mapping[str, str], days: int, who: str) -> WhatifRun:
        """Begin a run.

        Raises:
            InputError: Another one is running here.
        """
        with self._lock:
            if self._thread and self._thread.is_alive():
                raise InputError("another what-if is running", remedy="wait for it, or cancel it")
            now = self._clock.now_ms()
            row = {"proposal_id": draft, "revision": revision, "who": who, "state": "running", "days": days}
            with self._engine.begin() as connection:
                number = connection.execute(
                    insert(whatif_runs).values(**row, started_at=now, seen_at=now).returning(whatif_runs.c.id)
                ).scalar_one()
                details = {"run": str(number), "days": str(days)}
                self._audit.record("policy.whatif-started", f"proposal:{draft}", details, actor=who)
            since = now - days * DAY if days else 0
            self._thread = Thread(target=self._follow, args=(number, dict(files), since), name="what-if", daemon=True)
            self._thread.start()
        return self.find(number)

    def find(self, number: int) -> WhatifRun:
        """Return a run; one whose process has ended without a result has failed.

        Raises:
            InputError: There is none of this number.
        """
        with self._reading.connect() as connection:
            row = connection.execute(select(whatif_runs).where(whatif_runs.c.id == number)).mappings().first()
        if row is None:
            raise InputError(f"there is no what-if {number}")
        return self._run(row)

    def latest(self, draft: int) -> WhatifRun | None:
        """Return the latest run of a draft."""
        query = select(whatif_runs).where(whatif_runs.c.proposal_id == draft).order_by(whatif_runs.c.id.desc())
        with self._reading.connect() as connection:
            row = connection.execute(query.limit(1)).mappings().first()
        return self._run(row) if row else None

    def cancel(self, number: int, who: str) -> None:
        """Ask for the end of a run."""
        with self._engine.begin() as connection:
            running = whatif_runs.c.id == number, whatif_runs.c.state == "running"
            if connection.execute(update(whatif_runs).where(*running).values(cancelled=True)).rowcount:
                self._audit.record("policy.whatif-cancelled", f"whatif:{number}", {}, actor=who)

    def close(self) -> None:
        """End the run of this process, if there is one."""
        self._closing = True
        if self._thread:
            self._thread.join()

    def _run(self, row: Any) -> WhatifRun:
        run = WhatifRun(**row)
        if run.state == "running" and run.seen_at < self._clock.now_ms() - _LOST:
            return msgspec.structs.replace(run, state="failed", stage="")
        return run

    def _follow(self, number: int, files: dict[str, str], since: int) -> None:
        context = multiprocessing.get_context("spawn")
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=compute, args=(sender, self._settings, files, since), daemon=True)
        process.start()
        sender.close()
        state: RunState = "failed"
        try:
            while True:
                changes = _newest(receiver)
                if self._closing or self._write(number, changes):
                    state = "cancelled"
                    break
                if changes.get("state"):
                    state = changes["state"]
                    break
        finally:
            process.terminate()
            process.join()
            receiver.close()
            if state == "cancelled":
                self._write(number, {"state": state})
            self._log.info("what-if ended", run=number, state=state)

    def _write(self, number: int, changes: dict[str, Any]) -> bool:
        """Write progress or result; return whether somebody asked for the end."""
        own = whatif_runs.c.id == number
        with self._engine.begin() as connection:
            connection.execute(update(whatif_runs).where(own).values(**changes, seen_at=self._clock.now_ms()))
            return bool(connection.execute(select(whatif_runs.c.cancelled).where(own)).scalar_one())


def _newest(receiver: Pipe) -> dict[str, Any]:
    """Return the newest progress of the next moment, or the end; empty if there is none."""
    changes: dict[str, Any] = {}
    until = time.monotonic() + _LOOK_S
    try:
        while not changes.get("state") and (left := until - time.monotonic()) > 0 and receiver.poll(left):
            changes = receiver.recv()
    except EOFError:
        return {"state": "failed", "stage": ""}
    return changes


def compute(sender: Pipe, settings: Settings, files: Mapping[str, str], since: int) -> None:
    """Compute a price in this process, and send its progress and its end."""
    from streams.history.policy_price import price  # noqa: PLC0415, for the process that computes alone

    os.nice(10)
    try:
        found = price(
            settings, files, since=since,
            show=lambda stage, done, total: sender.send({"stage": stage, "done": done, "total": total}),
        )  # fmt: skip
    except VedetteError as error:
        sender.send({"state": "failed", "stage": str(error.args[0])[:256]})
    else:
        sender.send({"state": "done", "stage": "", "result": msgspec.json.encode(found).decode()})
