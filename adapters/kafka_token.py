"""Tokens for OAUTHBEARER: from a file that the platform renews, or from an OAuth 2.0 server by client credentials."""

import base64
import binascii
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import urllib3

from adapters.urls import may_carry_secrets
from vedette.errors import InputError, SettingsError, UnavailableError
from vedette.settings import KafkaSettings
from vedette.text import read_text

_FILE_S = 300
"""Seconds after which a file is read again, if its token does not say when it expires."""
_FRESH = 0.8
"""Share of its life for which a token is used again."""


class TokenSource:
    """Gets tokens and keeps each for most of its life. Thread-safe.

    Args:
        settings: `[kafka]` with oauth_url or oauth_token_file.
        now: The time in seconds since 1970-01-01 UTC.

    Raises:
        SettingsError: Neither or both are given, or the address would carry the secret unencrypted.
    """

    def __init__(self, settings: KafkaSettings, now: Callable[[], float] = time.time) -> None:
        if bool(settings.oauth_url) == bool(settings.oauth_token_file):
            raise SettingsError(
                "[kafka] sasl_mechanism OAUTHBEARER needs one source of tokens",
                remedy="set either oauth_url, with username and password as client id and secret, or oauth_token_file",
            )
        if settings.oauth_url and not may_carry_secrets(settings.oauth_url):
            raise SettingsError(
                f"[kafka] oauth_url {settings.oauth_url} would carry the secret unencrypted", remedy="use https"
            )
        self._settings = settings
        self._now = now
        self._lock = threading.Lock()
        self._known = ("", 0.0)
        self._fresh_until = 0.0

    def token(self) -> tuple[str, float]:
        """Return a token and when it expires, seconds since 1970-01-01 UTC.

        Raises:
            UnavailableError: The server does not answer or refuses.
            SettingsError: The file cannot be read.
        """
        with self._lock:
            now = self._now()
            if now >= self._fresh_until:
                token, expires = self._from_file(now) if self._settings.oauth_token_file else self._from_server(now)
                self._known = (token, expires)
                self._fresh_until = now + _FRESH * (expires - now)
            return self._known

    def _from_file(self, now: float) -> tuple[str, float]:
        try:
            token = read_text(Path(self._settings.oauth_token_file)).strip()
        except InputError as error:
            raise SettingsError(f"[kafka] oauth_token_file: {error.args[0]}", remedy=error.remedy) from error
        return token, _expiry(token) or now + _FILE_S

    def _from_server(self, now: float) -> tuple[str, float]:
        settings = self._settings
        fields = {"grant_type": "client_credentials"} | (
            {"scope": settings.oauth_scope} if settings.oauth_scope else {}
        )
        secret = settings.password.value if settings.password else ""
        try:
            with urllib3.PoolManager(ca_certs=settings.oauth_ca_file or None) as pool:
                answer = pool.request(
                    "POST",
                    settings.oauth_url,
                    fields=fields,
                    encode_multipart=False,
                    headers=urllib3.make_headers(basic_auth=f"{settings.username}:{secret}"),
                    timeout=settings.timeout_s,
                    retries=urllib3.Retry(1, redirect=0),
                )
            if answer.status != 200:
                raise self._away(f"status {answer.status}")
            body = answer.json()
            return str(body["access_token"]), now + float(body.get("expires_in") or _FILE_S)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._away(type(error).__name__) from error
        except (ValueError, KeyError, TypeError) as error:
            raise self._away("its answer has no access_token") from error

    def _away(self, reason: str) -> UnavailableError:
        return UnavailableError(
            f"no token from {self._settings.oauth_url}: {reason}",
            remedy="check [kafka] oauth_url, username (client id), password (client secret) and oauth_scope",
        )


def _expiry(token: str) -> float:
    """Return when a JSON Web Token expires, or 0 if it does not say so."""
    try:
        payload = token.split(".")[1]
        return float(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"])
    except (IndexError, ValueError, KeyError, TypeError, binascii.Error):
        return 0.0
