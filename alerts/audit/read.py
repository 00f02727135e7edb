"""Reading the log: is it whole, and what does it say."""

from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from alerts.audit.record import GENESIS, Record, anchor_path, key_of, unseal, unseal_anchor
from vedette.errors import InputError
from vedette.settings import AuditSettings


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a log is whole.

    Attributes:
        ok: Whether every record is there, in its place and unchanged.
        records: Number of good records from the beginning.
        head: `number:hash` of the last of them. Kept elsewhere, it proves later that nothing before it was changed,
            even to a log that was written anew by somebody who knows the key.
        broken: Number of the first broken or missing record; None if the log is whole.
        reason: What is wrong with it; empty if nothing is.
    """

    ok: bool
    records: int
    head: str
    broken: int | None = None
    reason: str = ""


def verify(settings: AuditSettings, *, head: str = "", progress: Callable[[int], object] = lambda _: None) -> Verdict:
    """Check every record, the anchor, and a head noted earlier.

    Args:
        settings: Where the log is, and its key.
        head: `number:hash` as an earlier verdict gave it; empty for none.
        progress: Told the number of bytes of every line read.

    Raises:
        SettingsError: There is no key.
        InputError: There is no log, or the head does not have its form.
    """
    key = key_of(settings)
    known = _known(settings, key, head)
    n, before = 0, GENESIS

    def broken(number: int, reason: str) -> Verdict:
        return Verdict(ok=False, records=n, head=f"{n}:{before}", broken=number, reason=reason)

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
    return Verdict(ok=True, records=n, head=f"{n}:{before}")


def show(
    settings: AuditSettings, *, last: int = 0, event: str = "", subject: str = "", actor: str = ""
) -> list[Record]:
    """Records in their order, unchecked; `verify` checks.

    Args:
        settings: Where the log is.
        last: At most so many, the latest; 0 for all.
        event: Only of events that begin so.
        subject: Only about this.
        actor: Only by this one.

    Raises:
        InputError: There is no log, or a line is no record.
    """
    path = Path(settings.path)
    found: deque[Record] = deque(maxlen=last or None)
    for number, line in enumerate(_lines(path), 1):
        try:
            record = msgspec.json.decode(line, type=Record)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InputError(f"line {number} of {path} is no record", remedy="see `vedette audit verify`") from error
        if record.event.startswith(event) and subject in ("", record.subject) and actor in ("", record.actor):
            found.append(record)
    return list(found)


def _known(settings: AuditSettings, key: bytes, head: str) -> dict[int, str]:
    """Hashes by number that records must have: the anchor's, and that of a head noted earlier."""
    known: dict[int, str] = {}
    if head:
        number, _, noted = head.partition(":")
        if not number.isdecimal() or len(noted) != len(GENESIS):
            raise InputError(f"{head!r} is no head of a log", remedy="write number:hash as an earlier `verify` said it")
        known[int(number)] = noted
    path = anchor_path(settings)
    if path.exists():
        anchor = unseal_anchor(path.read_bytes(), key)
        if anchor is None:
            raise InputError(
                f"anchor {path} was changed, or was written under another key",
                remedy="the log cannot be trusted to be whole; a head noted earlier still proves its beginning",
            )
        known[anchor.n] = anchor.hash
    return known


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from file
    except FileNotFoundError as error:
        raise InputError(f"there is no audit log at {path}", remedy="set [audit] path") from error
