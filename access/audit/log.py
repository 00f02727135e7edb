"""Writing the log from any number of threads and processes.

A record is passed to the operating system before `record` returns, so it survives a kill of the process. A separate
thread syncs written records to disk and then moves the anchor, `sync_ms` after the first unsynced record: a power
failure can lose the records of that span, and the anchor never names a record that is not on disk.
"""

import fcntl
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Self

from access.audit.record import (
    GENESIS,
    LONGEST_LINE,
    LONGEST_TEXT,
    Anchor,
    AuditRecord,
    anchor_path,
    key_of,
    seal,
    seal_anchor,
    shortened,
    unseal,
    unseal_anchor,
)
from adapters.files import write_atomically
from vedette.clock import Clock
from vedette.errors import StateError
from vedette.settings import AuditSettings


def open_audit(settings: AuditSettings, clock: Clock, actor: str) -> "Audit":
    """Open the log of the settings, created if necessary; close it, or open it with `with`. See Audit for the actor.

    Raises:
        SettingsError: There is no key.
        StateError: See Audit.
    """
    return Audit(Path(settings.path), anchor_path(settings), key_of(settings), clock, actor, settings.sync_ms / 1000)


class OccasionalAudit:
    """The log for a command, which may have nothing to record: opened for each record. See open_audit."""

    def __init__(self, settings: AuditSettings, clock: Clock, actor: str) -> None:
        self._open = partial(open_audit, settings, clock, actor)

    def record(self, event: str, subject: str, details: Mapping[str, str], *, actor: str = "") -> None:
        """See Audit.record; raises SettingsError if the log has no key."""
        with self._open() as audit:
            audit.record(event, subject, details, actor=actor)


class Audit:
    """The log, open for writing.

    Args:
        path: File of the log, created with its directory if necessary.
        anchor: File with the current end of the log, best where an intruder on this machine cannot write.
        key: Key of at least 32 bytes.
        clock: Clock for the times of records.
        actor: Default actor of records: the service that writes.
        sync_s: Maximum delay of a sync to disk, in seconds.

    Raises:
        StateError: The file cannot be written, or was changed or cut: no record is added to such a log.
    """

    def __init__(self, path: Path, anchor: Path, key: bytes, clock: Clock, actor: str, sync_s: float) -> None:
        self._path, self._anchor_path, self._key, self._sync_s = path, anchor, key, sync_s
        self._clock, self._actor = clock, actor
        self._n, self._end, self._prev = 0, 0, GENESIS
        self._failed: StateError | None = None
        self._one = threading.Lock()
        self._dirty, self._closing = threading.Event(), threading.Event()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            anchor.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateError(f"audit log {path} cannot be opened: {error.strerror}") from error
        try:
            with self._alone():
                self._check_anchor()
                self._catch_up()
        except BaseException:
            os.close(self._file)
            raise
        self._syncing = threading.Thread(target=self._sync_until_closed, name="audit", daemon=True)
        self._syncing.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def record(self, event: str, subject: str, details: Mapping[str, str], *, actor: str = "") -> None:
        """Add a record; it has been written when this returns.

        Args:
            event: Action, in the form `thing.done`.
            subject: Subject of the action, in the form `kind:id`.
            details: Further details; never a code, secret or token.
            actor: Actor; the service if empty.

        Raises:
            StateError: The record could not be written, or the log was changed or cut meanwhile. The caller must then
                not perform the action.
        """
        if self._failed:
            raise self._failed
        with self._alone():
            self._catch_up()
            record = AuditRecord(
                n=self._n + 1,
                at=self._clock.now_ms(),
                actor=(actor or self._actor)[:LONGEST_TEXT],
                event=event,
                subject=subject[:LONGEST_TEXT],
                details=shortened(details),
                prev=self._prev,
            )
            line, found = seal(record, self._key)
            if len(line) > LONGEST_LINE:
                raise ValueError(f"{event} has {len(line)} bytes of details, more than a record takes")
            self._write(line)
            self._n, self._end, self._prev = record.n, self._end + len(line), found
        self._dirty.set()

    def sync(self) -> None:
        """Sync written records to disk, and then move the anchor.

        Raises:
            StateError: The sync failed, or the anchor was changed.
        """
        with self._one:
            reached = Anchor(n=self._n, end=self._end, hash=self._prev)
        if not reached.n:
            return
        try:
            os.fdatasync(self._file)
            with self._alone():
                known = self._read_anchor()
                if known is None or known.n < reached.n:
                    write_atomically(self._anchor_path, seal_anchor(reached, self._key))
        except OSError as error:
            raise StateError(f"audit log {self._path} cannot be brought to disk: {error.strerror}") from error

    def close(self) -> None:
        """Sync and close."""
        self._closing.set()
        self._dirty.set()
        self._syncing.join()
        try:
            self.sync()
        finally:
            os.close(self._file)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Exclude other threads and processes from writing."""
        with self._one:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def _catch_up(self) -> None:
        """Seek to the end of the log, past the records of other processes."""
        size = os.fstat(self._file).st_size
        if size == self._end:
            return
        if size < self._end:
            raise self._spoilt("was cut", self._n)
        start = max(self._end, size - 2 * LONGEST_LINE)
        tail = os.pread(self._file, size - start, start)
        complete = tail[: tail.rfind(b"\n") + 1]
        if complete:
            last = unseal(complete[:-1].rpartition(b"\n")[2], self._key)
            if last is None:
                raise self._spoilt("was changed, or has another key, near its end", self._n)
            self._n, self._end, self._prev = last.n, start + len(complete), last.hash
        if len(complete) < len(tail):  # a writer was interrupted by a power failure: the record was never confirmed
            os.ftruncate(self._file, self._end)

    def _check_anchor(self) -> None:
        """Check that the log still holds the anchor's record; a new log gets an anchor."""
        anchor = self._read_anchor()
        if anchor is None:
            if os.fstat(self._file).st_size:
                raise self._spoilt(f"has lost its anchor, {self._anchor_path}", 0)
            write_atomically(self._anchor_path, seal_anchor(Anchor(n=0, end=0, hash=GENESIS), self._key))
        elif anchor.n:
            start = max(0, anchor.end - LONGEST_LINE)
            line = os.pread(self._file, anchor.end - start, start).rstrip(b"\n").rpartition(b"\n")[2]
            record = unseal(line, self._key)
            if record is None or (record.n, record.hash) != (anchor.n, anchor.hash):
                raise self._spoilt("was changed or cut", anchor.n)

    def _read_anchor(self) -> Anchor | None:
        try:
            text = self._anchor_path.read_bytes()
        except FileNotFoundError:
            return None
        anchor = unseal_anchor(text, self._key)
        if anchor is None:
            raise self._spoilt(f"has an anchor, {self._anchor_path}, that was changed or has another key", 0)
        return anchor

    def _write(self, line: bytes) -> None:
        try:
            if os.write(self._file, line) == len(line):
                return
            os.ftruncate(self._file, self._end)
            reason = "the disk is full"
        except OSError as error:
            reason = error.strerror or str(error)
        raise StateError(f"audit log {self._path} cannot be written: {reason}", remedy="nothing is done unrecorded")

    def _spoilt(self, how: str, n: int) -> StateError:
        return StateError(
            f"audit log {self._path} {how}" + (f"; it had reached record {n}" if n else ""),
            remedy="`vedette audit verify` names the first broken record; keep both files and name new ones",
        )

    def _sync_until_closed(self) -> None:
        while not self._closing.is_set():
            self._dirty.wait()
            self._closing.wait(self._sync_s)
            self._dirty.clear()
            try:
                self.sync()
            except StateError as error:
                self._failed = error
                return
