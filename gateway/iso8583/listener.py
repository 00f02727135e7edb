"""The TCP server for card switches."""

import asyncio
import socket
import ssl
from ipaddress import ip_address, ip_network
from typing import Any

from adapters.http_tls import TlsAcceptor
from gateway.iso8583.connection import Answer, CardConnection
from vedette.errors import SettingsError
from vedette.settings_gateway import Iso8583Settings

_DRAIN_S = 2.0


class CardListener:
    """Takes connections of card switches; made before the event loop runs, so that a wrong address ends the start.

    Args:
        settings: Address, peers and limits.
        answer: Answers a message.
        tls: None: plain TCP.
        log: A structlog logger.

    Raises:
        SettingsError: The address cannot be listened on, or a peer is no address.
    """

    def __init__(self, settings: Iso8583Settings, answer: Answer, tls: ssl.SSLContext | None, log: Any) -> None:
        self._settings, self._answer, self._tls, self._log = settings, answer, tls, log
        self._connections: set[CardConnection] = set()
        self._server: asyncio.Server | TlsAcceptor | None = None
        try:
            self._peers = [ip_network(peer) for peer in settings.peers]
        except ValueError as error:
            raise SettingsError(
                f"[iso8583] peers: {error}", remedy="write addresses or networks, such as 192.0.2.0/24"
            ) from error
        try:
            self._socket = socket.create_server((settings.host, settings.port))
        except OSError as error:
            raise SettingsError(
                f"ISO 8583 cannot be served on {settings.host}:{settings.port}: {error.strerror}",
                remedy="name another address in [iso8583]",
            ) from error

    async def start(self) -> None:
        """Take connections."""
        if self._tls is None:
            self._server = await asyncio.get_running_loop().create_server(self._connection, sock=self._socket)
        else:
            self._server = TlsAcceptor(
                self._socket, self._connection, self._tls, within_s=self._settings.message_s,
                most=self._settings.connections, admits=self._admits,
            )  # fmt: skip

    async def close(self) -> None:
        """Take no more connections, answer what has come, and close them."""
        if self._server is not None:
            self._server.close()
        waiting = [asyncio.ensure_future(connection.drain()) for connection in self._connections]
        if waiting:
            await asyncio.wait(waiting, timeout=_DRAIN_S)
        for connection in list(self._connections):
            connection.close()

    def _connection(self) -> CardConnection:
        return CardConnection(self._settings, self._answer, self._open, self._connections.discard, self._log)

    def _open(self, connection: CardConnection, peer: str) -> bool:
        if not self._admits(peer):
            return False
        if len(self._connections) >= self._settings.connections:
            self._refused(peer, "too many connections")
            return False
        self._connections.add(connection)
        return True

    def _admits(self, peer: str) -> bool:
        known = bool(peer) and any(ip_address(peer) in network for network in self._peers)  # empty: it has gone already
        if not known:
            self._refused(peer, "not among [iso8583] peers")
        return known

    def _refused(self, peer: str, reason: str) -> None:
        self._log.warning("connection of a card switch refused", peer=peer, reason=reason)
