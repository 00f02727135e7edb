"""A card switch asks over a socket: how bytes become messages, what is limited, and what the response codes are."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import iso8583
import msgspec
import pytest
import structlog
from iso8583.specs import default_ascii
from structlog.testing import capture_logs

from adapters.http_tls import TlsFiles
from gateway.iso8583.listener import CardListener
from stack.process import free_ports
from tests.card_messages import CARD, framed, message, reversal
from tests.certificates import certificate, trusting
from tests.conftest import wait_for
from tests.gateway.conftest import PATIENT_MS, WITHIN_S, Bank
from vedette.clock import SystemClock, format_time
from vedette.errors import InputError, SettingsError
from vedette.settings_gateway import Iso8583Settings


async def echo(raw: bytes, peer: str, started: float) -> bytes | None:
    """Answers a message with itself; `slow` late, `bad` not at all."""
    del peer, started
    if raw.startswith(b"slow"):
        await asyncio.sleep(0.2)
    if raw.startswith(b"bad"):
        raise InputError("is not ISO 8583: field t at byte 0")
    if raw.startswith(b"broken"):
        raise RuntimeError(CARD)
    return raw


Talk = Callable[[int], Awaitable[Any]]


def listening(talk: Talk, answer: Any = echo, tls: ssl.SSLContext | None = None, **limits: Any) -> Any:
    """Run a listener with these limits, and a conversation with it; returns its result."""
    (port,) = free_ports(1)
    settings = Iso8583Settings(port=port, **limits)

    async def run() -> Any:
        listener = CardListener(settings, answer, tls, structlog.get_logger())
        await listener.start()
        try:
            async with asyncio.timeout(60):
                return await talk(port)
        finally:
            await listener.close()

    return asyncio.run(run())


async def receive(reader: asyncio.StreamReader) -> bytes:
    """The next message; empty: the connection has ended."""
    try:
        return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
    except (asyncio.IncompleteReadError, ConnectionResetError):
        return b""


async def ended(port: int, sent: bytes) -> bool:
    """Whether the connection ends after these bytes, without an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    answer = await receive(reader)
    writer.close()
    return answer == b""


def test_messages_are_cut_as_their_lengths_say() -> None:
    """Two in one packet, one byte by byte, and an empty one that keeps the connection: each whole one is answered."""

    async def talk(port: int) -> list[bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        writer.write(framed(b"one", b"", b"two") + b"\0")
        answers = [await receive(reader), await receive(reader)]
        for byte in b"\x0athreeparts":
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        answers.append(await receive(reader))
        writer.close()
        return answers

    assert listening(talk) == [b"one", b"two", b"threeparts"]


def test_a_slow_answer_does_not_hold_up_others() -> None:
    """Answers come as they are ready; a switch finds its request by its own fields."""

    async def talk(port: int) -> list[bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(framed(b"slow", b"quick"))
        answers = [await receive(reader), await receive(reader)]
        writer.close()
        return answers

    assert listening(talk) == [b"quick", b"slow"]


def test_no_more_messages_of_a_connection_wait_than_may() -> None:
    """The rest is not read before; all are answered in the end."""
    waiting, most = 0, 0

    async def counted(raw: bytes, peer: str, started: float) -> bytes:
        nonlocal waiting, most
        del peer, started
        waiting += 1
        most = max(most, waiting)
        await asyncio.sleep(0.001)
        waiting -= 1
        return raw

    async def talk(port: int) -> set[bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(framed(*(b"%04d" % number for number in range(500))))
        answers = {await receive(reader) for _ in range(500)}
        writer.close()
        return answers

    assert listening(talk, counted, in_flight=7) == {b"%04d" % number for number in range(500)}
    assert most == 7


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",  # read as a length of 18,245 bytes
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS hello
        (4097).to_bytes(2, "big"),
        b"\0",
        b"\0\x05half",
        framed(*[b"bad"] * 10),
    ],
)
def test_a_connection_that_is_out_of_step_ends(sent: bytes) -> None:
    """Another protocol, a message too large, half a message and one unreadable message after another."""

    async def talk(port: int) -> bool:
        return await ended(port, sent)

    with capture_logs() as lines:
        assert listening(talk, message_s=0.2)
    assert any(line["event"] == "connection of a card switch ended" for line in lines)


def test_an_unreadable_message_ends_nothing_else() -> None:
    """The next one is answered, also after a failure of our own; the log has a reason and no data."""

    async def talk(port: int) -> list[bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(framed(*[b"bad"] * 9, b"broken", b"good"))
        answers = [await receive(reader)]
        writer.write(framed(*[b"bad"] * 9, b"again"))
        answers.append(await receive(reader))
        writer.close()
        return answers

    with capture_logs() as lines:
        assert listening(talk) == [b"good", b"again"]
    assert len(lines) == 19
    assert CARD not in str(lines)


def test_so_many_switches_connect_and_no_others() -> None:
    """One connection too many and a stranger are closed at once, and a place that is free again is taken."""

    async def talk(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(framed(b"mine"))
        assert await receive(reader) == b"mine"
        assert await ended(port, framed(b"other"))
        writer.close()
        await writer.wait_closed()
        while await ended(port, framed(b"other")):
            pass

    async def stranger(port: int) -> None:
        assert await ended(port, framed(b"mine"))

    listening(talk, connections=1)
    listening(stranger, peers=["192.0.2.0/24"])
    with pytest.raises(SettingsError, match="peers"):
        listening(stranger, peers=["bank"])


def test_a_switch_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answers do not pile up: reading stops, and the connection ends."""
    monkeypatch.setattr("gateway.iso8583.connection._WRITE_S", 0.2)

    async def talk(port: int) -> int:
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setblocking(False)
        loop, sent, large = asyncio.get_running_loop(), 0, framed(b"x" * 4000) * 100
        try:
            while sent < 200_000_000:
                await loop.sock_sendall(connection, large)
                sent += len(large)
        except OSError:
            pass
        finally:
            connection.close()
        return sent

    assert listening(talk) < 200_000_000


# TLS, as an institution's own switches speak it.


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of a server and of two switches, one of which another authority has signed."""
    directory = tmp_path_factory.mktemp("tls")
    own, other = certificate(directory, "authority"), certificate(directory, "other-authority")
    for name, issuer in (("server", own), ("switch", own), ("stranger", other)):
        certificate(directory, name, issuer)
    return directory


@pytest.fixture
def tls(files: Path) -> ssl.SSLContext:
    """The server's side, which asks for certificates."""
    return tls_files(files).context()


def tls_files(directory: Path) -> TlsFiles:
    """The server's files."""
    certificate_file, key, client_ca = (str(directory / name) for name in ("server.pem", "server.key", "authority.pem"))
    return TlsFiles(certificate_file, key, client_ca)


async def echoed(port: int, files: Path, client: str = "switch") -> bytes:
    """The answer to a switch that presents a certificate, or none; empty: it does not get in."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting(files, "authority", client))
        writer.write(framed(b"hello"))
        answer = await receive(reader)
        writer.close()
    except (ssl.SSLError, ConnectionError):
        return b""
    return answer


def test_only_switches_with_a_certificate_of_the_authority_get_in(files: Path, tls: ssl.SSLContext) -> None:
    """One of another authority, none, and plain TCP are not answered; the next good one is."""

    async def talk(port: int) -> list[bytes]:
        assert await ended(port, framed(b"plain"))
        return [await echoed(port, files, client) for client in ("switch", "stranger", "", "switch")]

    assert listening(talk, tls=tls) == [b"hello", b"", b"", b"hello"]


def test_handshakes_that_stall_keep_nobody_out(files: Path, tls: ssl.SSLContext) -> None:
    """Five times as many as there may be connections, silent or half begun, are let go; a switch is served at once."""

    async def talk(port: int) -> None:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
        for _, writer in held[::2]:
            writer.write(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a handshake
        assert await echoed(port, files) == b"hello"
        assert [await receive(reader) for reader, _ in held] == [b""] * 20
        for _, writer in held:
            writer.close()

    listening(talk, tls=tls, connections=4, message_s=1.0)


def test_a_stranger_begins_no_handshake(files: Path, tls: ssl.SSLContext) -> None:
    """Who may not connect is let go before anything is computed for him, and the log has his address."""

    async def talk(port: int) -> None:
        assert await ended(port, b"")
        assert await echoed(port, files) == b""

    with capture_logs() as lines:
        listening(talk, tls=tls, peers=["192.0.2.0/24"], message_s=60.0)
    assert [(line["peer"], line["reason"]) for line in lines] == [("127.0.0.1", "not among [iso8583] peers")] * 2


def test_a_switch_is_answered_by_the_gateway_over_tls(cards: Bank, files: Path) -> None:
    """With `[gateway] client_ca` the listener answers a switch with a certificate, and nobody else."""
    own = tls_files(files)
    gateway = cards.begin(certificate=own.certificate, certificate_key=own.key, client_ca=own.client_ca)
    address = ("127.0.0.1", cards.settings.iso8583.port)

    def code(client: str) -> str:
        assert gateway.running, gateway.log_tail
        try:
            with (
                socket.create_connection(address, timeout=60) as plain,
                trusting(files, "authority", client).wrap_socket(plain, server_hostname="127.0.0.1") as connection,
            ):
                return ask(connection, message(**now(f4="000000001000")))["39"]
        except (OSError, iso8583.DecodeError):  # refused, or closed without an answer
            return ""

    wait_for(lambda: code("switch") == "00", WITHIN_S)
    assert [code("stranger"), code(""), code("switch")] == ["", "", "00"]


# The response codes, with the gateway itself.


@contextmanager
def switch(port: int) -> Iterator[socket.socket]:
    """A connection of a switch."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        yield connection


def ask(connection: socket.socket, raw: bytes) -> dict[str, str]:
    """Send a message and return the fields of its answer."""
    connection.sendall(framed(raw))
    with connection.makefile("rb") as file:
        length = int.from_bytes(file.read(2), "big")
        return dict(iso8583.decode(file.read(length), default_ascii)[0])


def now(**changes: str | None) -> dict[str, str | None]:
    """Fields of a message that is sent now."""
    sent = format_time(SystemClock().now_ms())
    return {"f7": sent[5:7] + sent[8:10] + sent[11:13] + sent[14:16] + sent[17:19]} | changes


@pytest.fixture
def cards(bank: Bank) -> Bank:
    """The bank, with a listener for card switches."""
    own = Iso8583Settings(port=free_ports(1)[0], deadline_ms=PATIENT_MS)
    bank.settings = msgspec.structs.replace(bank.settings, iso8583=own)
    return bank


def test_a_switch_gets_the_decision_as_a_response_code(cards: Bank) -> None:
    """One decision for a request and its repeat; a reversal and an advice are acknowledged, and all are published."""
    cards.worker()
    cards.gateway()
    sent = now(f11="000001")
    with switch(cards.settings.iso8583.port) as connection:
        # Meanwhile it is 91, or 01 by the fallback: a payment that is asked for again gets its decision.
        wait_for(lambda: ask(connection, message(**sent))["39"] == "00", WITHIN_S)
        answer = ask(connection, message(**sent))
        assert {name: answer[name] for name in ("t", "39", "2", "4", "7", "11", "32", "37", "41", "42", "49")} == {
            "t": "0110", "39": "00", "2": CARD, "4": "000000012345", "7": sent["f7"], "11": "000001",
            "32": "00123456", "37": "618510000123", "41": "TERM0001", "42": "SHOP00000000017", "49": "978",
        }  # fmt: skip
        assert not {"14", "35", "48", "52"} & set(answer)
        assert ask(connection, message(t="0101", **sent)) == answer
        assert ask(connection, message(**sent | {"f4": "000000012346"}))["39"] == "94"
        original = f"0100000001{sent['f7']}00000123456" + "0" * 11
        assert (ask(connection, reversal(**now(f11="000002", f90=original)))["39"]) == "00"
        assert ask(connection, message(t="0120", **now(f11="000003")))["t"] == "0130"
        assert ask(connection, message(t="0420", **now(f11="000004"), f90=original))["t"] == "0430"
    wait_for(lambda: len({each.transaction_id for each in cards.decisions()}) >= 4, WITHIN_S)
    decisions = {each.transaction_id.split("-")[-2]: each for each in cards.decisions()}
    assert decisions["000002"].original_id == decisions["000001"].transaction_id
    assert len(cards.decisions()) == len({each.transaction_id for each in cards.decisions()})
    assert CARD not in msgspec.json.encode(cards.decisions()).decode()
    assert CARD not in "".join(path.read_text() for path in cards.directory.glob("gateway-*.log"))


def test_a_switch_gets_the_fallback_and_what_is_wrong(cards: Bank) -> None:
    """Without a worker the policy answers in time; what is no payment, or not valid, has a code of its own."""
    cards.settings = msgspec.structs.replace(
        cards.settings, iso8583=msgspec.structs.replace(cards.settings.iso8583, deadline_ms=300)
    )
    cards.gateway(payments_per_s=50)
    with switch(cards.settings.iso8583.port) as connection:
        assert ask(connection, message(**now(f11="000001", f4="000000001000")))["39"] == "00"
        assert ask(connection, message(**now(f11="000002", f4="000000999900")))["39"] == "01"
        assert ask(connection, message(**now(f11="000003", f18="6011")))["39"] == "59"
        assert ask(connection, message(**now(f11="000004", f49="000")))["39"] == "30"
        assert ask(connection, message(**now(f11="000005", f3="310000")))["39"] == "12"
        assert ask(connection, message(t="0200", **now(f11="000006")))["t"] == "0210"
        echo_test = message(t="0800", f2=None, f11="000007", f70="301")
        assert {name: text for name, text in ask(connection, echo_test).items() if name in ("t", "39", "70")} == {
            "t": "0810", "39": "00", "70": "301",
        }  # fmt: skip
        codes = {ask(connection, message(t="0120", **now(f11=f"0001{number:02}")))["39"] for number in range(99)}
    assert codes == {"00", "91"}
