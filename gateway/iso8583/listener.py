"""The TCP server for card switches."""

import asyncio
import socket
import ssl
from ipaddress import ip_address, ip_network
from typing import Any

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
        self._server: asyncio.Server | None = None
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
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: CardConnection(self._settings, self._answer, self._open, self._connections.discard, self._log),
            sock=self._socket, ssl=self._tls,
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

    def _open(self, connection: CardConnection, peer: str) -> bool:
        address = ip_address(peer)
        known = any(address in network for network in self._peers)
        if not known or len(self._connections) >= self._settings.connections:
            reason = "too many connections" if known else "not among [iso8583] peers"
            self._log.warning("connection of a card switch refused", peer=peer, reason=reason)
            return False
        self._connections.add(connection)
        return True
