"""The worker's connection by aiokafka, from the same settings as that of librdkafka's clients."""

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any

import faust
from aiokafka.abc import AbstractTokenProvider
from faust.auth import OAuthCredentials

from adapters.kafka_token import TokenSource
from vedette.errors import SettingsError
from vedette.settings import KafkaSettings

_MS = 0.001
_OPTIONS: Mapping[str, tuple[str, Any]] = {
    "client.id": ("broker_client_id", str),
    "socket.timeout.ms": ("broker_request_timeout", lambda text: float(text) * _MS),
    "metadata.max.age.ms": ("consumer_metadata_max_age_ms", int),
    "connections.max.idle.ms": ("consumer_connections_max_idle_ms", int),
}
"""Properties of librdkafka that aiokafka knows too, with Faust's option and how its value is read."""


class _Tokens(AbstractTokenProvider):
    """Tokens for aiokafka, fetched in a thread."""

    def __init__(self, source: TokenSource) -> None:
        self._source = source

    async def token(self) -> str:
        """Return a token that has not expired."""
        token, _ = await asyncio.get_running_loop().run_in_executor(None, self._source.token)
        return token

    def extensions(self) -> dict[str, str]:
        """Return no extensions."""
        return {}


def broker_credentials(kafka: KafkaSettings) -> Any:
    """Return Faust's credentials, or None for a plain connection.

    Raises:
        SettingsError: A file of a certificate cannot be used, or there is no source of tokens.
    """
    context = _tls(kafka) if "SSL" in kafka.security_protocol.replace("SASL", "") else None
    if not kafka.security_protocol.startswith("SASL"):
        return faust.SSLCredentials(context=context) if context else None
    if kafka.sasl_mechanism == "OAUTHBEARER":
        return OAuthCredentials(oauth_cb=_Tokens(TokenSource(kafka)), ssl_context=context)
    return faust.SASLCredentials(
        username=kafka.username,
        password=kafka.password.value if kafka.password else "",
        ssl_context=context,
        mechanism=kafka.sasl_mechanism,
    )


def broker_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Return Faust's options for those of `[kafka.properties]` that aiokafka knows.

    Raises:
        SettingsError: A value is not a number where one is needed.
    """
    options: dict[str, Any] = {}
    for name, text in kafka.properties.items():
        if name in _OPTIONS:
            option, read = _OPTIONS[name]
            try:
                options[option] = read(text)
            except ValueError as error:
                raise SettingsError(f"[kafka.properties] {name} = {text!r} is not a number") from error
    return options


def _tls(kafka: KafkaSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=kafka.ca_file or None)
        if kafka.certificate_file:
            password = kafka.key_password.value if kafka.key_password else None
            context.load_cert_chain(kafka.certificate_file, kafka.key_file or None, password)
        if ciphers := kafka.properties.get("ssl.cipher.suites"):
            context.set_ciphers(ciphers)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"[kafka] the certificates cannot be used: {error}",
            remedy="check ca_file, certificate_file, key_file and key_password",
        ) from error
    if kafka.properties.get("ssl.endpoint.identification.algorithm", "").lower() == "none":
        context.check_hostname = False
    return context
