"""The service's keys: keyed hashes for values to recognise, AES-GCM for values to read again.

A keyring is text, one or more `<id>:<base64 of 32 random bytes>`, separated by white space. The first key is used for
all new values; the others still verify and decrypt, so a key is rotated by putting a new one in front. From each key
one for hashing and one for encrypting is derived (HKDF-SHA256, RFC 5869), and every result carries the id of its key.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from vedette.errors import SettingsError, StateError
from vedette.settings import MfaSettings

Entropy = Callable[[int], bytes]
"""Function that returns a number of unpredictable bytes, such as os.urandom."""

_KEY_BYTES = 32
_NONCE_BYTES = 12
_ID = re.compile(r"[A-Za-z0-9._-]{1,32}")


def new_key(identifier: str, entropy: Entropy) -> str:
    """Return a line for the keyring."""
    return f"{identifier}:{base64.b64encode(entropy(_KEY_BYTES)).decode()}"


class _Key(NamedTuple):
    """What is derived from one key."""

    hashing: bytes
    sealing: AESGCM


class Keyring:
    """Hashes and encrypts with the first key of its text, checks and decrypts with any.

    Raises:
        SettingsError: The text is not a keyring; the message shows no key.
    """

    def __init__(self, text: str) -> None:
        self._keys = _derived(text)

    @property
    def current(self) -> str:
        """Id of the first key."""
        return next(iter(self._keys))

    def hash(self, purpose: str, *parts: str | int) -> str:
        """Return a keyed hash (HMAC-SHA256) of a purpose and parts, as `<key id>:<hex>`."""
        return self._hash(self.current, purpose, parts)

    def fits(self, hashed: str, purpose: str, *parts: str | int) -> bool:
        """Return whether a hash, possibly any text, is that of these parts; False if its key is gone."""
        identifier = hashed.partition(":")[0]
        if not self.knows(hashed):
            return False
        # Bytes, since the comparison in constant time refuses text beyond ASCII.
        expected = self._hash(identifier, purpose, parts)
        return hmac.compare_digest(hashed.encode("utf-8", "replace"), expected.encode())

    def knows(self, hashed: str) -> bool:
        """Return whether the key that made a hash is in the ring."""
        return hashed.partition(":")[0] in self._keys

    def fingerprints(self, purpose: str, *parts: str | int) -> list[str]:
        """Return the hashes under every key, for look-ups; that of the current key comes first."""
        return [self._hash(identifier, purpose, parts) for identifier in self._keys]

    def seal(self, secret: bytes, context: str, entropy: Entropy) -> str:
        """Return a secret encrypted and bound to a context (AES-256-GCM), as `<key id>:<base64 of nonce and text>`."""
        nonce = entropy(_NONCE_BYTES)
        text = self._keys[self.current].sealing.encrypt(nonce, secret, context.encode())
        return f"{self.current}:{base64.b64encode(nonce + text).decode()}"

    def unseal(self, sealed: str, context: str) -> bytes:
        """Return the secret of a sealed text.

        Raises:
            StateError: Its key is gone, it was changed, or it belongs to another context.
        """
        identifier, _, encoded = sealed.partition(":")
        if identifier not in self._keys:
            raise StateError(f"a secret is sealed with key {identifier!r}", remedy="put that key back into [mfa] keys")
        data = base64.b64decode(encoded)
        try:
            return self._keys[identifier].sealing.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], context.encode())
        except InvalidTag as error:
            raise StateError(f"a secret sealed with key {identifier!r} was changed or moved") from error

    def _hash(self, identifier: str, purpose: str, parts: tuple[str | int, ...]) -> str:
        # Unlike joined text, JSON delimits each part. It cannot hold half a surrogate pair.
        texts = [part.encode("utf-8", "replace").decode() if isinstance(part, str) else part for part in parts]
        message = msgspec.json.encode([purpose, *texts])
        return f"{identifier}:{hmac.new(self._keys[identifier].hashing, message, 'sha256').hexdigest()}"


class DeferredKeyring(Keyring):
    """The keyring of the settings, read when it is first used: of an operator's commands, most do without.

    Args:
        settings: The section with the keys; see keyring_of for the error.
    """

    def __init__(self, settings: MfaSettings) -> None:
        self._settings = settings

    @cached_property
    def _keys(self) -> dict[str, _Key]:  # type: ignore[override]
        return keyring_of(self._settings)._keys  # noqa: SLF001, of its own class


def keyring_of(settings: MfaSettings) -> Keyring:
    """Return the keyring of the settings.

    Raises:
        SettingsError: There is no keyring, or it is not valid.
    """
    if settings.keys is None:
        raise SettingsError("[mfa] keys is not set", remedy="`vedette mfa keygen` makes a key; name its file keys_file")
    return Keyring(settings.keys.value)


def _derived(text: str) -> dict[str, _Key]:
    found: dict[str, _Key] = {}
    for number, entry in enumerate(text.split(), 1):
        identifier, _, encoded = entry.partition(":")
        try:
            key = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            key = b""
        if not _ID.fullmatch(identifier) or len(key) != _KEY_BYTES or identifier in found:
            raise SettingsError(
                f"[mfa] keys: entry {number} is not a new <id>:<base64 of 32 bytes>",
                remedy="`vedette mfa keygen` makes one",
            )
        found[identifier] = _Key(_derive(key, b"vedette mfa hash"), AESGCM(_derive(key, b"vedette mfa seal")))
    if not found:
        raise SettingsError("[mfa] keys is empty", remedy="`vedette mfa keygen` makes a key")
    return found


def _derive(key: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=purpose).derive(key)
