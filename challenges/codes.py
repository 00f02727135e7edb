"""Codes: those sent by SMS, those of an authenticator app, and the tokens in links."""

import base64
import hmac

import pyotp

from access.keyring import Entropy
from vedette.clock import SECOND

CODE_DIGITS = 8
"""26 bits; at least 20 are required (NIST SP 800-63B 5.1.3.2)."""

TOTP_DIGITS = 6
TOTP_STEP_S = 30
TOTP_SECRET_BYTES = 20
"""160 bits (RFC 4226 4, R6)."""

_TOKEN_BYTES = 24


def new_code(entropy: Entropy) -> str:
    """Return a code for an SMS: eight digits, each code as likely as any other (the bias is below 2**-100)."""
    return f"{int.from_bytes(entropy(16)) % 10**CODE_DIGITS:0{CODE_DIGITS}d}"


def new_token(entropy: Entropy) -> str:
    """Return a token for a link or a cookie: 192 bits, in characters that need no escape in a URL."""
    return base64.urlsafe_b64encode(entropy(_TOKEN_BYTES)).decode()


def new_secret(entropy: Entropy) -> bytes:
    """Return a secret for an authenticator app."""
    return entropy(TOTP_SECRET_BYTES)


def typed(code: str) -> str:
    """Return a code without the spaces and dashes that people type."""
    return "".join(character for character in code if character not in " -\u00a0")[:64]


def app_of(secret: bytes) -> pyotp.TOTP:
    """Return the authenticator app that has this secret."""
    return pyotp.TOTP(base64.b32encode(secret).decode(), digits=TOTP_DIGITS, interval=TOTP_STEP_S)


def app_label(issuer: str, entropy: Entropy) -> str:
    """Return a name for an entry of an authenticator app.

    Apps show it on lock screens and synchronise it elsewhere, so no account is in it. Its random end tells the entries
    of two accounts apart: under equal names the second would replace the first.
    """
    return f"{issuer} {base64.b32encode(entropy(5)).decode()[:4]}"


def otpauth_uri(secret: bytes, label: str, issuer: str) -> str:
    """Return the URI that an authenticator app reads from a QR code."""
    return app_of(secret).provisioning_uri(name=label, issuer_name=issuer)


def totp_step(secret: bytes, code: str, now: int, last_step: int) -> int | None:
    """Return the step (RFC 6238) whose code this is: the present one or the one before, if after the last accepted.

    A future step is never accepted. Every candidate is compared, each in constant time.
    """
    app, present = app_of(secret), now // (TOTP_STEP_S * SECOND)
    found, given = None, code.encode("utf-8", "replace")
    for step in (present - 1, present):
        if hmac.compare_digest(app.generate_otp(step).encode(), given) and step > last_step:
            found = step
    return found
