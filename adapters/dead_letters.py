"""Messages for the dead-letter topic, the same from the worker and the bridge; card numbers in them are encrypted.

The headers are those of Kafka Connect's dead-letter queues. A message with a card number, in its key, its value or an
identifier, is encrypted as a whole (AES-256-GCM); without a key only a masked copy is kept, which cannot be replayed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from secrets import token_bytes
from typing import Any, NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vedette.card_numbers import holds_card_number, masked, masked_bytes
from vedette.errors import SettingsError, StateError
from vedette.settings_cards import CardSettings

CUT_FROM = "vedette.cut-from"
"""Header of a dead letter with a truncated message: the original number of bytes."""
ENCRYPTED = "vedette.encrypted"
"""Header of an encrypted dead letter: the version of the form, and the fingerprint of the key."""
MASKED = "vedette.masked"
"""Header of a dead letter whose card numbers are cut to their first six and last four digits."""

_VERSION = "1"
_CONTEXT = b"vedette dead letter 1"
_PERSON = b"vedette-letters"
_LEAST_KEY = 32
_NONCE_BYTES = 12
_GROWTH = 64
"""Bytes by which encryption may lengthen key and value together."""

Headers = list[tuple[str, bytes]]


class Letter(NamedTuple):
    """A message for the dead-letter topic."""

    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What is known of a message that could not be read.

    Attributes:
        topic: Its topic, by its full name.
        kind: Name of the kind of error.
        reason: What is wrong, naming the field.
        card_number: Whether a card number was found in it, however it is written there.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    kind: str
    reason: str
    card_number: bool = False


class DeadLetters:
    """Makes dead letters, and reads encrypted ones.

    Args:
        settings: Key and treatment of card numbers.

    Raises:
        SettingsError: The key is too short.
    """

    def __init__(self, settings: CardSettings) -> None:
        self._looks = settings.numbers != "accept"
        self._cipher: AESGCM | None = None
        self._name = ""
        if settings.dead_letter_key is not None:
            text = settings.dead_letter_key.value
            if len(text) < _LEAST_KEY:
                raise SettingsError(
                    f"[cards] dead_letter_key has {len(text)} characters, fewer than {_LEAST_KEY}",
                    remedy="`vedette identity keygen` makes one",
                )
            key = blake2b(text.encode(), digest_size=32, person=_PERSON).digest()
            self._cipher, self._name = (
                AESGCM(key),
                f"{_VERSION} {blake2b(key, digest_size=4, person=_PERSON).hexdigest()}",
            )

    def letter(self, message: Unreadable, largest: int) -> Letter:
        """Return a dead letter; a message that would be too large for its topic is truncated.

        Args:
            message: The message that could not be read.
            largest: Most bytes of key, value and headers.
        """
        headers = _headers(message)
        key, value = message.key, message.value
        secret = self._looks and (message.card_number or holds_card_number(key) or holds_card_number(value))
        room = largest - sum(len(text) for _, text in headers) - len(key or b"") - (_GROWTH if secret else 0)
        if value is not None and len(value) > room:
            headers.append((CUT_FROM, str(len(value)).encode()))
            value = value[: max(room, 0)]
        if not secret:
            return Letter(key, value, headers)
        if self._cipher is None:
            return _masked(message, value, headers)
        nonce = token_bytes(_NONCE_BYTES)
        text = self._cipher.encrypt(nonce, msgspec.msgpack.encode((key, value)), _CONTEXT)
        return Letter(None, nonce + text, [*headers, (ENCRYPTED, self._name.encode())])

    def decrypted(self, value: bytes, headers: Mapping[str, str]) -> tuple[bytes | None, bytes | None]:
        """Return key and value of the message that was encrypted.

        Args:
            value: The value of the dead letter.
            headers: Its headers.

        Raises:
            SettingsError: There is no key, or it is another one.
            StateError: The letter was changed.
        """
        name = headers[ENCRYPTED]
        if self._cipher is None or name != self._name:
            had = "is not set" if self._cipher is None else "is another one"
            raise SettingsError(
                f"a dead letter is encrypted, and [cards] dead_letter_key {had}",
                remedy="name the file of the key in [cards] dead_letter_key_file",
            )
        try:
            content = self._cipher.decrypt(value[:_NONCE_BYTES], value[_NONCE_BYTES:], _CONTEXT)
        except InvalidTag as error:
            raise StateError("an encrypted dead letter was changed") from error
        pair: tuple[bytes | None, bytes | None] = msgspec.msgpack.decode(
            content, type=tuple[bytes | None, bytes | None]
        )
        return pair


def _masked(message: Unreadable, value: bytes | None, headers: Headers) -> Letter:
    if message.card_number and not holds_card_number(value):
        value = b""  # it is written in a way that masking does not see, such as 4.1e15
    key, value = (None if part is None else masked_bytes(part) for part in (message.key, value))
    return Letter(key, value, [*headers, (MASKED, b"1")])


def _headers(message: Unreadable) -> Headers:
    """Return the reason in the format of Kafka Connect's dead-letter queues."""
    fields: dict[str, Any] = {
        "topic": message.topic,
        "partition": message.partition,
        "offset": message.offset,
        "stage": "VALUE_CONVERTER",
        "exception.class.name": message.kind,
        "exception.message": masked(message.reason),
    }
    return [(f"__connect.errors.{name}", str(value).encode()) for name, value in fields.items()]
