"""Tokens: short-lived signed statements of identity (in the form of RFC 9068, with a symmetric key)."""

from collections.abc import Sequence

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OctKey

from access.keyring import Entropy, Keyring
from access.roles import Scope
from vedette.clock import MINUTE, SECOND, Clock

LIFETIME = 5 * MINUTE
"""Lifetime of a token; a revoked credential ends its tokens sooner."""

_ISSUER, _AUDIENCE = "vedette", "api"
_ALGORITHM = "HS256"


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """Claims of a token."""

    iss: str
    aud: str
    sub: str
    exp: int
    scope: str

    @property
    def scopes(self) -> frozenset[str]:
        """Return the scopes it allows."""
        return frozenset(self.scope.split())


class Tokens:
    """Issues and verifies tokens.

    Args:
        keyring: Its first key signs; what the others have signed is accepted.
        clock: Clock for the expiry.
        entropy: Source of token ids.
    """

    def __init__(self, keyring: Keyring, clock: Clock, entropy: Entropy) -> None:
        self._clock, self._entropy, self._current = clock, entropy, keyring.current
        derived = (print_.split(":") for print_ in keyring.fingerprints("token"))
        self._keys = KeySet([OctKey.import_key(key, {"kid": kid}) for kid, key in derived])

    def give(self, subject: str, scopes: Sequence[Scope]) -> str:
        """Return a token for a credential's id."""
        now = self._clock.now_ms() // SECOND
        claims = {
            "iss": _ISSUER,
            "aud": _AUDIENCE,
            "sub": subject,
            "jti": self._entropy(16).hex(),
            "iat": now,
            "exp": now + LIFETIME // SECOND,
            "scope": " ".join(scopes),
        }
        return jwt.encode({"alg": _ALGORITHM, "kid": self._current, "typ": "at+jwt"}, claims, self._keys)

    def read(self, text: str) -> Claims | None:
        """Return the claims of a token, or None if it is forged, expired, or for another purpose."""
        try:
            found = jwt.decode(text, self._keys, algorithms=[_ALGORITHM])
            claims = msgspec.convert(found.claims, Claims)
        except (JoseError, ValueError, TypeError):
            # msgspec's and Unicode's errors are ValueErrors; TypeErrors come from odd headers, which are read first.
            return None
        if found.header.get("typ") != "at+jwt" or (claims.iss, claims.aud) != (_ISSUER, _AUDIENCE):
            return None
        return claims if self._clock.now_ms() < claims.exp * SECOND else None
