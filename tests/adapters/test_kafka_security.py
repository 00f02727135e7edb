import asyncio
import base64
import json
import ssl
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import aiokafka
import msgspec
import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from adapters.kafka_client import client_config
from adapters.kafka_producer import KafkaProducer
from adapters.kafka_token import TokenSource
from stack.broker import ApacheBroker
from stack.broker_security import BrokerSecurity
from stack.process import free_ports
from streams.credentials import broker_credentials, broker_options
from tests.conftest import missing
from vedette import load_settings
from vedette.errors import DeliveryError, SettingsError, UnavailableError
from vedette.settings import KafkaSettings
from vedette.settings_base import Secret

SECRET = "client-secret"


@pytest.fixture(scope="module")
def own_apache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ApacheBroker, BrokerSecurity]]:
    """Apache Kafka with TLS and logins."""
    port, controller, tls, login = free_ports(4)
    folder = tmp_path_factory.mktemp("secure")
    security = BrokerSecurity(folder / "security", tls, login)
    broker = ApacheBroker(folder / "broker", port, controller, security=security)
    try:
        broker.start()
    except UnavailableError as error:
        missing(error)
    try:
        admin = AdminClient({"bootstrap.servers": broker.address})
        admin.create_topics([NewTopic("secured", 1, 1)])["secured"].result(20)
        yield broker, security
    finally:
        broker.stop()


@pytest.fixture
def identity(own_apache: tuple[ApacheBroker, BrokerSecurity]) -> Iterator[tuple[str, list[str]]]:
    """An OAuth 2.0 server that issues the broker's tokens to one client, and the requests that it received."""
    security, asked = own_apache[1], list[str]()
    expected = base64.b64encode(f"vedette:{SECRET}".encode()).decode()

    class Server(BaseHTTPRequestHandler):
        """A token endpoint."""

        def do_POST(self) -> None:
            """Answer one request."""
            asked.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            known = self.headers["Authorization"] == f"Basic {expected}"
            body = json.dumps({"access_token": security.token(), "expires_in": 300} if known else {"error": "no"})
            self.send_response(200 if known else 401)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Server) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/token", asked
        server.shutdown()
        thread.join()


def settings_of(kind: str, security: BrokerSecurity, url: str, token_file: Path) -> KafkaSettings:
    """The settings of a client that the broker accepts."""
    files = security.directory
    login = {
        "bootstrap_servers": security.listeners["LOGIN"], "security_protocol": "SASL_SSL",
        "ca_file": str(files / "ca.pem"), "timeout_s": 5.0,
    }  # fmt: skip
    bearer = login | {"sasl_mechanism": "OAUTHBEARER"}
    user = {"username": security.user, "password": Secret(security.password)}
    kinds: dict[str, dict[str, Any]] = {
        "mTLS": {
            "bootstrap_servers": security.listeners["TLS"], "security_protocol": "SSL", "timeout_s": 5.0,
            "ca_file": str(files / "ca.pem"), "certificate_file": str(files / "client.pem"),
            "key_file": str(files / "client.key.pem"), "key_password": Secret(security.password),
        },
        "SCRAM-SHA-256": login | user | {"sasl_mechanism": "SCRAM-SHA-256"},
        "SCRAM-SHA-512": login | user | {"sasl_mechanism": "SCRAM-SHA-512"},
        "OAUTHBEARER": bearer | {
            "oauth_url": url, "oauth_scope": "kafka", "username": "vedette", "password": Secret(SECRET),
        },
        "OAUTHBEARER file": bearer | {"oauth_token_file": str(token_file)},
        "properties": login | user | {
            "sasl_mechanism": "SCRAM-SHA-512", "ca_file": "",
            "properties": {"enable.ssl.certificate.verification": "false", "client.id": "bank-1"},
        },
    }  # fmt: skip
    return KafkaSettings(**kinds[kind])


@pytest.mark.kafka
@pytest.mark.parametrize("kind", ["mTLS", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "OAUTHBEARER file"])
def test_both_clients_reach_a_broker_with_this_login(
    own_apache: tuple[ApacheBroker, BrokerSecurity], identity: tuple[str, list[str]], tmp_path: Path, kind: str
) -> None:
    """Librdkafka sends a message through the listener, and aiokafka, by the worker's credentials, receives it."""
    (tmp_path / "token").write_text(own_apache[1].token())
    settings = settings_of(kind, own_apache[1], identity[0], tmp_path / "token")
    producer = KafkaProducer(settings, delivery_timeout_s=20.0, quiet=True)
    producer.send("secured", kind.encode())
    producer.flush()
    assert kind.encode() in asyncio.run(_read(settings))
    if kind == "OAUTHBEARER":
        assert set(identity[1]) == {"grant_type=client_credentials&scope=kafka"}


async def _read(settings: KafkaSettings) -> list[bytes | None]:
    """Return what the topic holds, read as the worker reads it."""
    consumer = aiokafka.AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap_servers, **credentials_to_aiokafka_auth(broker_credentials(settings), None)
    )
    await consumer.start()
    try:
        place = aiokafka.TopicPartition("secured", 0)
        consumer.assign([place])
        end = (await consumer.end_offsets([place]))[place]
        consumer.seek(place, 0)
        found: list[bytes | None] = []
        while len(found) < end:
            found.append((await asyncio.wait_for(consumer.getone(), 20)).value)
        return found
    finally:
        await consumer.stop()


@pytest.mark.kafka
def test_properties_reach_librdkafka_and_a_wrong_login_does_not_pass(
    own_apache: tuple[ApacheBroker, BrokerSecurity], identity: tuple[str, list[str]], tmp_path: Path
) -> None:
    """Without an authority only the institution's own property admits the client; a wrong password never does."""
    settings = settings_of("properties", own_apache[1], identity[0], tmp_path)
    producer = KafkaProducer(settings, delivery_timeout_s=20.0, quiet=True)
    producer.send("secured", b"properties")
    producer.flush()
    wrong = msgspec.structs.replace(settings, password=Secret("guess"))
    refused = KafkaProducer(wrong, delivery_timeout_s=1.0, quiet=True)
    refused.send("secured", b"guess")
    with pytest.raises(DeliveryError, match="not acknowledged"):
        refused.flush()


def test_an_identity_server_that_refuses_is_named(
    tmp_path: Path,
) -> None:
    """The error contains neither the secret nor the answer; a token without an expiry is renewed in time."""
    away = KafkaSettings(oauth_url="http://127.0.0.1:9/token", username="v", password=Secret(SECRET), timeout_s=0.5)
    with pytest.raises(UnavailableError, match=r"no token from http://127\.0\.0\.1:9/token") as raised:
        TokenSource(away).token()
    assert SECRET not in str(raised.value)
    with pytest.raises(SettingsError, match="would carry the secret unencrypted"):
        TokenSource(KafkaSettings(oauth_url="http://login.bank.example/token"))
    with pytest.raises(SettingsError, match="needs one source of tokens"):
        TokenSource(KafkaSettings())
    file, clock = tmp_path / "token", [1000.0]
    file.write_text("opaque\n")
    source = TokenSource(KafkaSettings(oauth_token_file=str(file)), now=lambda: clock[0])
    assert source.token() == ("opaque", 1300.0)
    file.write_text("renewed\n")
    assert source.token() == ("opaque", 1300.0)
    clock[0] += 250
    assert source.token() == ("renewed", 1550.0)


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ({"acks": "1"}, "acks cannot be set: Vedette relies on it, so that an acknowledged message"),
        ({"group.id": "x"}, "group.id cannot be set"),
        ({"partitioner": "random"}, "partitioner cannot be set"),
        ({"sasl.password": "x"}, r"sasl.password has a setting of its own — use \[kafka\] password"),
        ({"ssl.key.pem": "x"}, r"use \[kafka\] key_file"),
        ({"linger": "1"}, "linger = '1' is not a property of librdkafka"),
        ({"linger.ms": "soon"}, "linger.ms = 'soon' is not a property of librdkafka"),
    ],
)
def test_properties_that_would_break_a_guarantee_are_refused(properties: dict[str, str], said: str) -> None:
    """The message says why, or which setting to use instead, or that librdkafka does not know it."""
    with pytest.raises(SettingsError, match=said):
        client_config(KafkaSettings(properties=properties))


def test_properties_are_read_from_file_and_environment(tmp_path: Path) -> None:
    """Numbers and booleans become librdkafka's strings; aiokafka gets the ones that it knows."""
    file = tmp_path / "vedette.toml"
    file.write_text('[kafka.properties]\n"socket.keepalive.enable" = true\n"socket.timeout.ms" = 45000\n')
    kafka = load_settings(file, {}).kafka
    assert kafka.properties == {"socket.keepalive.enable": "true", "socket.timeout.ms": "45000"}
    assert client_config(kafka)["socket.timeout.ms"] == "45000"
    assert broker_options(kafka) == {"broker_request_timeout": 45.0}
    environment = {"VEDETTE_KAFKA__PROPERTIES": "client.id=bank-1, metadata.max.age.ms=60000"}
    kafka = load_settings(None, environment).kafka
    assert kafka.properties == {"client.id": "bank-1", "metadata.max.age.ms": "60000"}
    assert broker_options(kafka) == {"broker_client_id": "bank-1", "consumer_metadata_max_age_ms": 60_000}


def test_certificates_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    """A worker whose certificates cannot be used ends with an error that names the setting."""
    (tmp_path / "x.pem").write_text("nothing")
    kafka = KafkaSettings(security_protocol="SSL", certificate_file=str(tmp_path / "x.pem"))
    with pytest.raises(SettingsError, match="certificates cannot be used"):
        broker_credentials(kafka)
    assert broker_credentials(KafkaSettings()) is None
    relaxed = KafkaSettings(security_protocol="SSL", properties={"ssl.endpoint.identification.algorithm": "none"})
    context = broker_credentials(relaxed).context
    assert (context.check_hostname, context.verify_mode) == (False, ssl.CERT_REQUIRED)
