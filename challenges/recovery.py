"""Recovery codes: ten per account, each valid once, found by a keyed hash and then verified by one slow hash."""

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from access.keyring import Entropy, Keyring
from challenges.codes import typed
from challenges.records import Account
from vedette.errors import UnavailableError

COUNT = 10

# argon2id as in OWASP's password storage cheat sheet for 19 MiB. The codes have 50 random bits, so this is for the case
# that database and keyring are stolen together.
_hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
_hashing = threading.BoundedSemaphore(2)
_WAIT_S = 5.0


def new_codes(account_id: str, keys: Keyring, entropy: Entropy) -> tuple[list[str], tuple[str, ...]]:
    """Return new codes to show to the holder, and their stored entries."""
    made = [base64.b32encode(entropy(10)).decode()[:10].lower() for _ in range(COUNT)]
    with _one_of_few():
        stored = tuple(f"{keys.hash('recovery', account_id, code)} {_hasher.hash(code)}" for code in made)
    return [f"{code[:5]}-{code[5:]}" for code in made], stored


def matching(account: Account, text: str, keys: Keyring) -> str | None:
    """Return the stored entry of a code, or None if the code is not one of the account's.

    A wrong code costs no slow hash. Only entries whose key has left the keyring must be tried one by one.
    """
    code = typed(text).lower()
    entries = [entry.partition(" ") for entry in account.recovery]
    found = [entry for entry in entries if keys.fits(entry[0], "recovery", account.account_id, code)]
    for finder, space, hashed in found or [entry for entry in entries if not keys.knows(entry[0])]:
        if _verifies(hashed, code):
            return f"{finder}{space}{hashed}"
    return None


def _verifies(hashed: str, code: str) -> bool:
    with _one_of_few():
        try:
            return _hasher.verify(hashed, code.encode("utf-8", "replace"))
        except (Argon2Error, InvalidHashError):
            return False


@contextmanager
def _one_of_few() -> Iterator[None]:
    """Limit the number of parallel slow hashes."""
    if not _hashing.acquire(timeout=_WAIT_S):
        raise UnavailableError("too many recovery codes are being checked")
    try:
        yield
    finally:
        _hashing.release()
