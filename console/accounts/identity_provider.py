"""The institution's identity provider: OpenID Connect by authorization code with PKCE.

OpenID Connect Core 1.0, Discovery 1.0 and RP-Initiated Logout 1.0; RFC 7636 (PKCE), RFC 9207 (issuer in responses).
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from threading import Lock
from typing import Any
from urllib.parse import urlencode

import msgspec
import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from access.keyring import Entropy
from adapters.urls import may_carry_secrets
from vedette.clock import HOUR, SECOND, Clock
from vedette.errors import SettingsError, UnavailableError
from vedette.settings_oidc import OidcSettings

CALLBACK = "/sign-in/oidc/callback"

_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519")
"""Signatures with a public key. `none`, and HMAC with the client secret, are not accepted."""

_KNOWN_FOR, _UNKNOWN_KEY_WAIT = HOUR, 10 * SECOND
"""How long the provider's documents are kept; and how often a key that is not in them is looked for."""

_LEEWAY_S = 60
_TIMEOUT_S = 5.0
_VERIFIER_BYTES, _RANDOM_BYTES = 48, 24


class NotIdentifiedError(Exception):
    """The provider's response does not identify anybody; the text says why, without any of its values."""


class ProviderIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """A person as the provider knows them.

    Attributes:
        key: Hash of issuer and subject, which alone identify a person.
        name: A user name, made from the claim for names.
        groups: Their groups.
        authenticated_at: When they last proved to the provider who they are; 0: unknown.
    """

    key: str
    name: str
    groups: tuple[str, ...]
    authenticated_at: int


class _Discovered(msgspec.Struct, frozen=True):
    """What is used of the discovery document."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str = ""
    end_session_endpoint: str = ""
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    authorization_response_iss_parameter_supported: bool = False


class IdentityProvider:
    """The provider of the settings.

    Args:
        settings: The section; its issuer is set.
        public_url: Public URL of the console.
        clock: The clock.
        entropy: Source of unpredictable bytes.

    Raises:
        SettingsError: The issuer would be asked in the clear, or the section is not complete.
    """

    def __init__(self, settings: OidcSettings, public_url: str, clock: Clock, entropy: Entropy) -> None:
        if not may_carry_secrets(settings.issuer):
            raise SettingsError(f"[oidc] issuer {settings.issuer!r} would be asked in the clear", remedy="use https://")
        if not settings.client_id or "openid" not in settings.scopes:
            raise SettingsError("[oidc] needs client_id, and `openid` among its scopes")
        self._settings, self._clock, self._entropy = settings, clock, entropy
        self._home = public_url.rstrip("/")
        self._lock = Lock()
        self._discovered: tuple[_Discovered, KeySet] | None = None
        self._read_at = 0

    @property
    def name(self) -> str:
        """Name of the provider for people."""
        return self._settings.name

    def begin(self, *, fresh: bool) -> tuple[str, dict[str, str]]:
        """Return the URL at which a person signs in, and what `finish` needs afterwards and nobody else may know.

        Args:
            fresh: Whether the provider must ask for a password again, whoever is signed in there.

        Raises:
            UnavailableError: The provider does not answer.
        """
        provider, _ = self._provider()
        kept = {
            "state": self._random(_RANDOM_BYTES),
            "nonce": self._random(_RANDOM_BYTES),
            "verifier": self._random(_VERIFIER_BYTES),
            "fresh_since": str(self._clock.now_ms()) if fresh else "",
        }
        again = {"prompt": "login", "max_age": "0"} if fresh else {}
        url, _ = self._client(provider).create_authorization_url(
            provider.authorization_endpoint, kept["state"], kept["verifier"], nonce=kept["nonce"], **again
        )
        return str(url), kept

    def finish(self, kept: Mapping[str, str], response: Mapping[str, str]) -> ProviderIdentity:
        """Return who has signed in.

        Args:
            kept: What `begin` returned for this browser.
            response: The parameters with which the provider sent the browser back.

        Raises:
            NotIdentifiedError: The response is not one to what was begun, or its token does not hold.
            UnavailableError: The provider does not answer.
        """
        provider, _ = self._provider()
        if not hmac.compare_digest(response.get("state", "").encode("utf-8", "replace"), kept["state"].encode()):
            raise NotIdentifiedError("the state is another one")
        if response.get("iss", "" if provider.authorization_response_iss_parameter_supported else provider.issuer) != (
            provider.issuer
        ):
            raise NotIdentifiedError("the response is from another issuer")
        if "code" not in response:
            raise NotIdentifiedError("the provider has refused the sign-in")
        with self._client(provider) as client:
            token = self._token(client, provider, response["code"], kept["verifier"])
            claims = self._claims(provider, token, kept["nonce"])
            authenticated_at = _milliseconds(claims.get("auth_time"))
            if kept["fresh_since"] and authenticated_at < int(kept["fresh_since"]) - _LEEWAY_S * SECOND:
                raise NotIdentifiedError("the provider has not asked for the password again")
            groups, name = _claim(claims, self._settings.groups_claim), _claim(claims, self._settings.name_claim)
            if (groups is None or name is None) and provider.userinfo_endpoint:
                userinfo = self._userinfo(client, provider, claims["sub"])
                groups = _claim(userinfo, self._settings.groups_claim) if groups is None else groups
                name = _claim(userinfo, self._settings.name_claim) if name is None else name
        named = groups if isinstance(groups, list) else [groups]
        return ProviderIdentity(
            key=_key(provider.issuer, claims["sub"]),
            name=user_name(name if isinstance(name, str) else ""),
            groups=tuple(group for group in named if isinstance(group, str)),
            authenticated_at=authenticated_at,
        )

    def sign_out_url(self) -> str:
        """Return the URL that ends the session at the provider; empty if it has none, or does not answer."""
        try:
            provider, _ = self._provider()
        except UnavailableError:
            return ""
        if not provider.end_session_endpoint:
            return ""
        back = {"client_id": self._settings.client_id, "post_logout_redirect_uri": f"{self._home}/sign-in"}
        return f"{provider.end_session_endpoint}?{urlencode(back)}"

    def _token(self, client: OAuth2Session, provider: _Discovered, code: str, verifier: str) -> dict[str, Any]:
        try:
            token: dict[str, Any] = client.fetch_token(
                provider.token_endpoint, code=code, code_verifier=verifier, grant_type="authorization_code"
            )
        except OAuthError as error:
            raise NotIdentifiedError("the provider does not accept the code") from error
        except (requests.RequestException, ValueError) as error:
            raise _away(provider.token_endpoint) from error
        return token

    def _claims(self, provider: _Discovered, token: Mapping[str, Any], nonce: str) -> CodeIDToken:
        """Return the claims of the ID token, verified (Core 3.1.3.7)."""
        encoded = str(token.get("id_token", ""))
        try:
            try:
                decoded = jwt.decode(encoded, self._provider()[1], algorithms=list(_ALGORITHMS))
            except InvalidKeyIdError:  # the provider has a new key
                decoded = jwt.decode(
                    encoded, self._provider(older_than=_UNKNOWN_KEY_WAIT)[1], algorithms=list(_ALGORITHMS)
                )
            client = self._settings.client_id
            claims = CodeIDToken(
                decoded.claims, decoded.header,
                {"iss": {"essential": True, "value": provider.issuer}, "aud": {"essential": True, "value": client}},
                {"nonce": nonce, "client_id": client, "access_token": token.get("access_token")},
            )  # fmt: skip
            claims.validate(self._clock.now_ms() // SECOND, _LEEWAY_S)
        except (JoseError, ValueError) as error:
            raise NotIdentifiedError(f"the ID token does not hold: {type(error).__name__}") from error
        if not isinstance(claims["sub"], str) or not claims["sub"]:
            raise NotIdentifiedError("the ID token has no subject")
        return claims

    def _userinfo(self, client: OAuth2Session, provider: _Discovered, subject: str) -> dict[str, Any]:
        found: dict[str, Any] = _fetched(client, provider.userinfo_endpoint, dict[str, Any])
        if found.get("sub") != subject:  # Core 5.3.2
            raise NotIdentifiedError("userinfo is about somebody else")
        return found

    def _provider(self, older_than: int = _KNOWN_FOR) -> tuple[_Discovered, KeySet]:
        """Return the provider's documents, read again once they are older than a time in milliseconds."""
        with self._lock:
            now = self._clock.now_ms()
            if self._discovered is None or not 0 <= now - self._read_at < older_than:
                self._discovered, self._read_at = self._read(), now
            return self._discovered

    def _read(self) -> tuple[_Discovered, KeySet]:
        with self._configured(requests.Session()) as session:
            place = f"{self._settings.issuer.rstrip('/')}/.well-known/openid-configuration"
            found = _fetched(session, place, _Discovered)
            if found.issuer != self._settings.issuer:
                raise UnavailableError(
                    f"the provider calls itself {found.issuer!r}, not {self._settings.issuer!r}",
                    remedy="correct [oidc] issuer",
                )
            for url in (found.authorization_endpoint, found.token_endpoint, found.jwks_uri):
                if not may_carry_secrets(url):
                    raise UnavailableError(f"the provider's {url!r} would carry secrets in the clear")
            keys = _fetched(session, found.jwks_uri, dict[str, Any])
        try:
            return found, KeySet.import_key_set(keys)
        except (JoseError, ValueError, KeyError) as error:
            raise UnavailableError(f"the keys at {found.jwks_uri} cannot be read") from error

    def _client(self, provider: _Discovered) -> OAuth2Session:
        settings = self._settings
        posted = "client_secret_basic" not in provider.token_endpoint_auth_methods_supported
        session = OAuth2Session(
            settings.client_id,
            settings.client_secret.value if settings.client_secret else None,
            token_endpoint_auth_method=(
                "none" if not settings.client_secret else "client_secret_post" if posted else "client_secret_basic"
            ),
            scope=" ".join(settings.scopes),
            redirect_uri=f"{self._home}{CALLBACK}",
            code_challenge_method="S256",
            default_timeout=_TIMEOUT_S,
        )
        self._configured(session)
        return session

    def _configured(self, session: requests.Session) -> requests.Session:
        session.trust_env = False  # neither proxies nor passwords from the environment
        session.verify = self._settings.ca_file or True
        if self._settings.proxy:
            session.proxies = {"http": self._settings.proxy, "https": self._settings.proxy}
        return session

    def _random(self, count: int) -> str:
        return base64.urlsafe_b64encode(self._entropy(count)).decode()


def user_name(text: str) -> str:
    """Return a text as a user name: up to an @, in lower-case letters, digits, dots and dashes, with a letter first."""
    plain = re.sub(r"[^a-z0-9._-]+", "-", text.partition("@")[0].lower())
    return re.sub(r"^[^a-z]+", "", plain)[:48].rstrip("-._") or "user"


def _fetched(session: requests.Session, url: str, kind: type[Any]) -> Any:
    try:
        response = session.get(url, timeout=_TIMEOUT_S, allow_redirects=False)
        response.raise_for_status()
        return msgspec.json.decode(response.content, type=kind)
    except (requests.RequestException, OAuthError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _away(url) from error


def _away(url: str) -> UnavailableError:
    return UnavailableError(f"the identity provider does not answer at {url}")


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """Return a claim by its name, or by a path of names joined by dots; None if there is none."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _key(issuer: str, subject: str) -> str:
    return hashlib.sha256(msgspec.json.encode([issuer, subject])).hexdigest()


def _milliseconds(seconds: object) -> int:
    return int(seconds * SECOND) if isinstance(seconds, int | float) and 0 < seconds < 2**40 else 0
