"""One line of the log, and the anchor, which records the known end of the log.

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
"""Previous hash of the first record."""

LONGEST_TEXT = 256
LONGEST_LINE = 16_384
"""Maximum length of a line in bytes, so that the end of a log is found without reading all of it."""

_SEAL = b',"hash":"'
_KEY_BYTES = 32


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One recorded action.

    Attributes:
        n: Number of the record, from 1.
        at: Milliseconds since 1970-01-01 UTC.
        actor: Actor: a credential's id, `customer`, or the name of a service.
        event: Action, in the form `thing.done`.
        subject: Subject of the action, in the form `kind:id`.
        details: Further details; never a code, secret or token.
        prev: Hash of the previous record.
        hash: Hash of this record; empty until it is sealed.
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


def seal(record: AuditRecord, key: bytes) -> tuple[bytes, str]:
    """Return the line of a record, with its newline, and its hash."""
    body = msgspec.json.encode(record).rpartition(_SEAL)[0]
    found = _hmac(key, body)
    return body + _SEAL + found.encode() + b'"}\n', found


def unseal(line: bytes, key: bytes) -> AuditRecord | None:
    """Return the record of a line without its newline, or None if it was not written with this key."""
    body = line.rpartition(_SEAL)[0]
    try:
        record = msgspec.json.decode(line, type=AuditRecord)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return record if hmac.compare_digest(record.hash.encode(), _hmac(key, body).encode()) else None


def seal_anchor(anchor: Anchor, key: bytes) -> bytes:
    """Return the content of the anchor's file."""
    return msgspec.json.encode(msgspec.structs.replace(anchor, seal=_anchor_hmac(anchor, key))) + b"\n"


def unseal_anchor(text: bytes, key: bytes) -> Anchor | None:
    """Return the anchor in its file's content, or None if it was not written with this key."""
    try:
        anchor = msgspec.json.decode(text, type=Anchor)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return anchor if hmac.compare_digest(anchor.seal.encode(), _anchor_hmac(anchor, key).encode()) else None


def shortened(details: Mapping[str, str]) -> dict[str, str]:
    """Return details with every text truncated to LONGEST_TEXT characters, since some come from outside."""
    return {name: text[:LONGEST_TEXT] for name, text in details.items()}


def key_of(settings: AuditSettings) -> bytes:
    """Return the key of the log.

    Raises:
        SettingsError: There is no key, or it is too short.
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
    """Return the path of the anchor."""
    return Path(settings.anchor or f"{settings.path}.anchor")


def _anchor_hmac(anchor: Anchor, key: bytes) -> str:
    return _hmac(key, f"anchor {anchor.n} {anchor.end} {anchor.hash}".encode())


def _hmac(key: bytes, text: bytes) -> str:
    return hmac.new(key, text, hashlib.sha256).hexdigest()
