"""Reading the log: verification and display."""

from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from access.audit.record import GENESIS, AuditRecord, anchor_path, key_of, unseal, unseal_anchor
from vedette.errors import InputError
from vedette.settings import AuditSettings


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """Result of verifying a log.

    Attributes:
        ok: Whether every record is present, in its place and unchanged.
        records: Number of good records from the beginning.
        head: `number:hash` of the last of them. Stored elsewhere, it proves later that nothing before it was changed,
            even if the log was rewritten with the key.
        broken: Number of the first broken or missing record; None if there is none.
        reason: The problem of that record; empty if there is none.
    """

    ok: bool
    records: int
    head: str
    broken: int | None = None
    reason: str = ""


def verify(
    settings: AuditSettings, *, head: str = "", progress: Callable[[int], object] = lambda _: None
) -> Verification:
    """Check every record, the anchor, and an earlier head.

    Args:
        settings: Location and key of the log.
        head: `number:hash` from an earlier verification; empty for none.
        progress: Called with the number of bytes of every line read.

    Raises:
        SettingsError: There is no key.
        InputError: There is no log, or the head is not valid.
    """
    key = key_of(settings)
    known = _known(settings, key, head)
    n, before = 0, GENESIS

    def broken(number: int, reason: str) -> Verification:
        return Verification(ok=False, records=n, head=f"{n}:{before}", broken=number, reason=reason)

    for line in _lines(Path(settings.path)):
        progress(len(line))
        record = unseal(line.removesuffix(b"\n"), key)
        if record is None:
            return broken(n + 1, "was changed, or was written under another key")
        if (record.n, record.prev) != (n + 1, before):
            return broken(n + 1, f"is missing: record {record.n} stands in its place")
        if known.get(record.n, record.hash) != record.hash:
            return broken(n + 1, "is not the one that was there before")
        n, before = record.n, record.hash
    if n < max(known, default=0):
        return broken(n + 1, f"is missing: the log had reached {max(known)}")
    if n and not anchor_path(settings).exists():
        return broken(n + 1, "may be missing: there is no anchor to say how far the log had reached")
    return Verification(ok=True, records=n, head=f"{n}:{before}")


def show(
    settings: AuditSettings, *, last: int = 0, event: str = "", subject: str = "", actor: str = ""
) -> list[AuditRecord]:
    """Return records in order, without checking them; `verify` checks.

    Args:
        settings: Location of the log.
        last: Maximum number of records, the latest; 0 for all.
        event: Prefix of the events to return.
        subject: Subject of the records to return.
        actor: Actor of the records to return.

    Raises:
        InputError: There is no log, or a line is not a record.
    """
    path = Path(settings.path)
    found: deque[AuditRecord] = deque(maxlen=last or None)
    for number, line in enumerate(_lines(path), 1):
        try:
            record = msgspec.json.decode(line, type=AuditRecord)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InputError(f"line {number} of {path} is not a record", remedy="see `vedette audit verify`") from error
        if record.event.startswith(event) and subject in ("", record.subject) and actor in ("", record.actor):
            found.append(record)
    return list(found)


def _known(settings: AuditSettings, key: bytes, head: str) -> dict[int, str]:
    """Return the expected hashes by record number: that of the anchor, and that of an earlier head."""
    known: dict[int, str] = {}
    if head:
        number, _, noted = head.partition(":")
        if not number.isdecimal() or len(noted) != len(GENESIS):
            raise InputError(
                f"{head!r} is not the head of a log", remedy="write number:hash as an earlier `verify` said it"
            )
        known[int(number)] = noted
    path = anchor_path(settings)
    if path.exists():
        anchor = unseal_anchor(path.read_bytes(), key)
        if anchor is None:
            raise InputError(
                f"anchor {path} was changed, or was written under another key",
                remedy="the log cannot be trusted to be complete; a head noted earlier still proves its beginning",
            )
        known[anchor.n] = anchor.hash
    return known


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from file
    except FileNotFoundError as error:
        raise InputError(f"there is no audit log at {path}", remedy="set [audit] path") from error
