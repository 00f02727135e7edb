"""Passwords: argon2id, and the least that a new one must be: long, without rules of composition (NIST SP 800-63B-4)."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from vedette.errors import InputError, UnavailableError

SHORTEST, LONGEST = 12, 128
"""Characters of a password."""

_WAIT_S = 5.0

_hasher = PasswordHasher(time_cost=3, memory_cost=65_536, parallelism=1)
_hashing = threading.BoundedSemaphore(2)
_nobody = ""


def new_hash(password: str, name: str) -> str:
    """Return the hash of a new password.

    Raises:
        InputError: It is too short, too long, or contains the name.
        UnavailableError: Too many are being checked.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise InputError(f"a password has {SHORTEST} to {LONGEST} characters")
    if name.lower() in password.lower() or len(set(password)) < SHORTEST // 3:
        raise InputError("a password contains neither the name nor a few characters again and again")
    with _one_of_few():
        return _hasher.hash(_text(password))


def fits(hashed: str, password: str) -> bool:
    """Return whether a password has this hash; it takes as long where there is none.

    Raises:
        UnavailableError: Too many are being checked.
    """
    global _nobody  # noqa: PLW0603, made when it is first needed, which takes as long as a check
    with _one_of_few():
        if not _nobody:
            _nobody = _hasher.hash("nobody")
        try:
            _hasher.verify(hashed or _nobody, _text(password[: LONGEST + 1]))
        except (Argon2Error, InvalidHashError):
            return False
        return bool(hashed)


def _text(password: str) -> bytes:
    return password.encode("utf-8", "replace")


@contextmanager
def _one_of_few() -> Iterator[None]:
    """Limit the number of parallel slow hashes."""
    if not _hashing.acquire(timeout=_WAIT_S):
        raise UnavailableError("too many passwords are being checked")
    try:
        yield
    finally:
        _hashing.release()
