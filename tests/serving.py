"""Serve an app for a test: the project's real server on a free port of this machine."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from adapters.http_protocol import ConnectionLimits
from adapters.http_server import BackgroundServer, server_config
from adapters.http_tls import TlsFiles
from tests.conftest import wait_for


@contextmanager
def listening() -> Iterator[tuple[socket.socket, str]]:
    """A socket on a free port of this machine, and its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener, f"http://127.0.0.1:{listener.getsockname()[1]}"


def received(connection: socket.socket) -> bytes:
    """All that a server sends until it closes the connection."""
    read = bytearray()
    try:
        while part := connection.recv(65_536):
            read += part
    except ConnectionResetError:
        pass
    return bytes(read)


def sent_to(address: tuple[str, int], sent: bytes) -> bytes:
    """All that a server sends to one who sends these bytes."""
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(sent)
        return received(connection)


@contextmanager
def served(
    app: ASGIApp, listener: socket.socket, limits: ConnectionLimits | None = None, tls: TlsFiles | None = None
) -> Iterator[uvicorn.Server]:
    """An app that answers on a socket."""
    config = server_config(app, limits=limits)
    config.timeout_graceful_shutdown = 1
    server = BackgroundServer(config, tls=tls, limits=limits)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield server
    finally:
        server.should_exit = True
        thread.join()
