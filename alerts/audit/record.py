"""One line of the log, and the anchor that says how far the log is known to reach.

A line is a JSON object whose last field, `hash`, is HMAC-SHA256 under the log's key over all bytes of the line before
it. `prev` is the hash of the line before, so no line can be changed, left out or moved without the key.
"""

import hashlib
import hmac
from collections.abc import Mapping
from pathlib import Path

import msgspec

from vedette.errors import SettingsError
from vedette.settings import AuditSettings

VERSION = 1
GENESIS = "0" * 64
"""What the first record names as the hash before it."""

LONGEST_TEXT = 256
LONGEST_LINE = 16_384
"""Bytes; no line is longer, so the end of a log is found without reading the rest of it."""

_SEAL = b',"hash":"'
_KEY_BYTES = 32


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One step somebody took.

    Attributes:
        n: Its number in the log, from 1.
        at: Milliseconds since 1970-01-01 UTC.
        actor: Who did it: a credential's id, `customer`, or the name of a service.
        event: What was done, in the form `thing.done`.
        subject: What it was done to, in the form `kind:id`.
        details: More about it; never a code, secret or token.
        prev: Hash of the record before.
        hash: Of this one; empty until it is sealed.
    """

    v: int = VERSION
    n: int
    at: int
    actor: str
    event: str
    subject: str
    details: dict[str, str]
    prev: str
    hash: str = ""


class Anchor(msgspec.Struct, frozen=True, kw_only=True):
    """A point the log had reached: record `n` with hash `hash` ended at byte `end`. Sealed like a record."""

    n: int
    end: int
    hash: str
    seal: str = ""


def seal(record: Record, key: bytes) -> tuple[bytes, str]:
    """The line of a record, with its newline, and its hash."""
    body = msgspec.json.encode(record).rpartition(_SEAL)[0]
    found = _hmac(key, body)
    return body + _SEAL + found.encode() + b'"}\n', found


def unseal(line: bytes, key: bytes) -> Record | None:
    """The record of a line without its newline, or None if it is not what was written under this key."""
    body = line.rpartition(_SEAL)[0]
    try:
        record = msgspec.json.decode(line, type=Record)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return record if hmac.compare_digest(record.hash.encode(), _hmac(key, body).encode()) else None


def seal_anchor(anchor: Anchor, key: bytes) -> bytes:
    """The content of the anchor's file."""
    return msgspec.json.encode(msgspec.structs.replace(anchor, seal=_anchor_hmac(anchor, key))) + b"\n"


def unseal_anchor(text: bytes, key: bytes) -> Anchor | None:
    """The anchor in its file's content, or None if it is not what was written under this key."""
    try:
        anchor = msgspec.json.decode(text, type=Anchor)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return anchor if hmac.compare_digest(anchor.seal.encode(), _anchor_hmac(anchor, key).encode()) else None


def shortened(details: Mapping[str, str]) -> dict[str, str]:
    """Details with every text cut at LONGEST_TEXT characters, since some come from outside."""
    return {name: text[:LONGEST_TEXT] for name, text in details.items()}


def key_of(settings: AuditSettings) -> bytes:
    """The log's key.

    Raises:
        SettingsError: There is none, or it is short.
    """
    key = settings.key.value.encode() if settings.key else b""
    if len(key) < _KEY_BYTES:
        raise SettingsError(
            f"[audit] key has {len(key)} bytes, and at least {_KEY_BYTES} are needed"
            if key
            else "[audit] key is not set",
            remedy="openssl rand -hex 32 > audit.key, and name that file in [audit] key_file",
        )
    return key


def anchor_path(settings: AuditSettings) -> Path:
    """Where the anchor is."""
    return Path(settings.anchor or f"{settings.path}.anchor")


def _anchor_hmac(anchor: Anchor, key: bytes) -> str:
    return _hmac(key, f"anchor {anchor.n} {anchor.end} {anchor.hash}".encode())


def _hmac(key: bytes, text: bytes) -> str:
    return hmac.new(key, text, hashlib.sha256).hexdigest()
