"""Codes: those sent by SMS, those of an authenticator app, and the tokens in links."""

import base64
import hmac

import pyotp

from alerts.mfa.keyring import Entropy
from vedette.clock import SECOND

CODE_DIGITS = 8
"""26 bits; at least 20 are asked for (NIST SP 800-63B 5.1.3.2)."""

TOTP_DIGITS = 6
TOTP_STEP_S = 30
TOTP_SECRET_BYTES = 20
"""160 bits (RFC 4226 4, R6)."""

_TOKEN_BYTES = 24


def new_code(entropy: Entropy) -> str:
    """A code for an SMS: eight digits, each code as likely as any other (the bias is below 2**-100)."""
    return f"{int.from_bytes(entropy(16)) % 10**CODE_DIGITS:0{CODE_DIGITS}d}"


def new_token(entropy: Entropy) -> str:
    """A token for a link or a cookie: 192 bits, in characters that need no escape in a URL."""
    return base64.urlsafe_b64encode(entropy(_TOKEN_BYTES)).decode()


def new_secret(entropy: Entropy) -> bytes:
    """A secret for an authenticator app."""
    return entropy(TOTP_SECRET_BYTES)


def typed(code: str) -> str:
    """A code as it was meant: without the spaces and dashes people type."""
    return "".join(character for character in code if character not in " -\u00a0")[:64]


def app_of(secret: bytes) -> pyotp.TOTP:
    """The authenticator app that has this secret."""
    return pyotp.TOTP(base64.b32encode(secret).decode(), digits=TOTP_DIGITS, interval=TOTP_STEP_S)


def totp_step(secret: bytes, code: str, now: int, last_step: int) -> int | None:
    """The step (RFC 6238) whose code this is: the present one or the one before, and later than the last accepted.

    A future step is never accepted. Every candidate is compared, each in constant time.
    """
    app, present = app_of(secret), now // (TOTP_STEP_S * SECOND)
    found = None
    for step in (present - 1, present):
        if hmac.compare_digest(app.generate_otp(step).encode(), code.encode()) and step > last_step:
            found = step
    return found
