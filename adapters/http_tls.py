"""TLS for a server's connections, with a time-out and a limit for handshakes.

An event loop that accepts connections with TLS makes them known to its server only after the handshake, for which it
waits a minute. Clients that connect and say nothing would use up memory and files.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from vedette.errors import SettingsError

_PAUSE_S = 0.1


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """TLS files of a server.

    Attributes:
        certificate: File with the certificate chain.
        key: File with its private key.
        client_ca: File with the authorities of required client certificates; empty: none is required.
    """

    certificate: str
    key: str
    client_ca: str = ""

    def context(self) -> ssl.SSLContext:
        """Return the context of a server.

        Raises:
            SettingsError: A file cannot be read, or is not what it should be.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self.certificate, self.key, password="")  # without one, OpenSSL asks the terminal
        except OSError as error:
            raise SettingsError(
                f"TLS with certificate {self.certificate} and key {self.key}: {_reason(error)}",
                remedy="name PEM files: a certificate chain, and the key of its first certificate, not encrypted",
            ) from error
        if self.client_ca:
            try:
                context.load_verify_locations(self.client_ca)
            except OSError as error:
                raise SettingsError(
                    f"client certificates by authority {self.client_ca}: {_reason(error)}",
                    remedy="name a PEM file with certificates of authorities",
                ) from error
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def _reason(error: OSError) -> str:
    reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
    return (reason or "it cannot be used").lower().replace("_", " ")


class TlsAcceptor:
    """Accepts connections of a listening socket; a connection is its protocol's once the handshake is complete.

    Args:
        listener: The socket.
        factory: Makes the protocol of a connection.
        context: Certificate and key.
        within_s: Time-out of a handshake, and of the end of a connection, in seconds.
        most: Maximum number of handshakes. One more ends the longest.
        admits: Whether a client at an address may begin a handshake.
    """

    def __init__(
        self, listener: socket.socket, factory: Callable[[], asyncio.Protocol], context: ssl.SSLContext, *,
        within_s: float, most: int, admits: Callable[[str], bool] = lambda _: True,
    ) -> None:  # fmt: skip
        listener.setblocking(False)
        self._listener, self._factory, self._context = listener, factory, context
        self._within_s, self._most, self._admits = within_s, most, admits
        self._handshakes: dict[asyncio.Task[None], socket.socket] = {}
        self._loop = asyncio.get_running_loop()
        self._accepting = self._loop.create_task(self._accept())

    def close(self) -> None:
        """Accept no more, and end the handshakes."""
        self._accepting.cancel()
        self._listener.close()
        for handshake in list(self._handshakes):
            handshake.cancel()

    async def wait_closed(self) -> None:
        """Return when it is closed."""
        await asyncio.wait([self._accepting, *self._handshakes])

    async def _accept(self) -> None:
        while True:
            try:
                connection, address = await self._loop.sock_accept(self._listener)
            except OSError:  # the client has gone already, or the process has too many files open
                await asyncio.sleep(_PAUSE_S)
                continue
            if not self._admits(address[0]):
                connection.close()
                continue
            if len(self._handshakes) >= self._most:
                next(iter(self._handshakes)).cancel()
            handshake = self._loop.create_task(self._secure(connection))
            self._handshakes[handshake] = connection
            handshake.add_done_callback(self._done)

    async def _secure(self, connection: socket.socket) -> None:
        with suppress(OSError):  # no TLS, too slow, without a certificate, or gone; the loop has closed it
            await self._loop.connect_accepted_socket(
                self._factory, connection, ssl=self._context, ssl_handshake_timeout=self._within_s,
                ssl_shutdown_timeout=self._within_s,
            )  # fmt: skip

    def _done(self, handshake: "asyncio.Task[None]") -> None:
        connection = self._handshakes.pop(handshake)
        if handshake.cancelled():
            connection.close()
