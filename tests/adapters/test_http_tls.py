"""TLS of servers: handshakes have a time and a number, and what is not TLS is not answered."""

import re
import socket
import ssl
from collections.abc import Iterator
from http.client import HTTPSConnection
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from adapters.http_limits import HttpGate
from adapters.http_protocol import ConnectionLimits
from adapters.http_tls import TlsFiles
from tests.certificates import certificate, trusting
from tests.serving import listening, received, sent_to, served
from vedette.errors import SettingsError

MOST = 20


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    """A certificate for localhost and its key."""
    directory = tmp_path_factory.mktemp("tls")
    certificate(directory, "server")
    return TlsFiles(str(directory / "server.pem"), str(directory / "server.key"))


@pytest.fixture
def address(files: TlsFiles) -> Iterator[tuple[str, int]]:
    """A server with TLS, short times and few connections, which says by which scheme it was asked."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(scope["scheme"])(scope, receive, send)

    limits = ConnectionLimits(head_s=2.0, connections=MOST)
    with listening() as (listener, _), served(HttpGate(app), listener, limits, files):
        yield listener.getsockname()


def asked(address: tuple[str, int], files: TlsFiles) -> bytes:
    """The body of an answer to a client with TLS."""
    connection = HTTPSConnection(
        "localhost", address[1], context=trusting(Path(files.certificate).parent, "server"), timeout=20
    )
    try:
        connection.request("GET", "/")
        return connection.getresponse().read()
    finally:
        connection.close()


def test_handshakes_have_a_time_and_a_number(address: tuple[str, int], files: TlsFiles) -> None:
    """Five times as many silent clients as there is room for keep nobody out, and all of them are let go."""
    held = [socket.create_connection(address, timeout=20) for _ in range(5 * MOST)]
    for connection in held[::2]:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a handshake
    assert asked(address, files) == b"https"
    assert {received(connection) for connection in held} == {b""}
    for connection in held:
        connection.close()
    assert asked(address, files) == b"https"


def test_what_is_not_tls_is_not_answered(address: tuple[str, int], files: TlsFiles) -> None:
    """Plain HTTP gets no answer of the app, and the next client with TLS is served."""
    assert b"http" not in sent_to(address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert asked(address, files) == b"https"


def test_a_request_that_comes_with_the_end_of_the_handshake_is_answered(
    address: tuple[str, int], files: TlsFiles
) -> None:
    """Clients may send both in one packet."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting(Path(files.certificate).parent, "server").wrap_bio(
        incoming, outgoing, server_hostname="localhost"
    )
    with socket.create_connection(address, timeout=20) as connection:
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                connection.sendall(outgoing.read())
                incoming.write(connection.recv(65_536))
        client.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        connection.sendall(outgoing.read())
        incoming.write(received(connection))
        got = client.read(65_536)
    assert got.startswith(b"HTTP/1.1 200")


def test_files_that_cannot_be_used_are_named(files: TlsFiles, tmp_path: Path) -> None:
    """A missing file, one that is no certificate, another's key and an encrypted key end the start with a remedy."""
    certificate(tmp_path, "other")
    text = tmp_path / "text.pem"
    text.write_text("no certificate", encoding="ascii")
    encrypted = tmp_path / "encrypted.key"
    key = serialization.load_pem_private_key(Path(files.key).read_bytes(), None)
    encrypted.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"word"),
        )
    )
    good = {"certificate": files.certificate, "key": files.key}
    for wrong in (
        {"certificate": str(tmp_path / "absent.pem")}, {"certificate": str(text)}, {"key": str(tmp_path / "other.key")},
        {"key": str(encrypted)}, {"client_ca": str(tmp_path / "absent.pem")}, {"client_ca": str(text)},
    ):  # fmt: skip
        with pytest.raises(SettingsError, match=re.escape(next(iter(wrong.values())))) as refused:
            TlsFiles(**good | wrong).context()
        assert "PEM" in refused.value.remedy
