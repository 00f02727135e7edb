"""A server in a thread, for the metrics of a process whose main thread does other work."""

import socket
import threading

from starlette.types import ASGIApp

from adapters.http_server import BackgroundServer, server_config
from vedette.errors import SettingsError


class ServerThread:
    """Serves an app from a thread until closed, with the limits of all servers.

    Args:
        app: The app, behind an HttpGate.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        setting: Name of the setting of the port, for the error.

    Raises:
        SettingsError: The address cannot be listened on.
    """

    def __init__(self, app: ASGIApp, host: str, port: int, *, setting: str) -> None:
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen()
        except OSError as error:
            listener.close()
            raise SettingsError(
                f"metrics cannot be served on {host}:{port}: {error.strerror}",
                remedy=f"each process needs a separate {setting}; 0 takes a free one",
            ) from error
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
        self._server = BackgroundServer(server_config(app))
        self._thread = threading.Thread(target=self._server.run, args=([listener],), name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening; requests under way are answered."""
        self._server.should_exit = True
        self._thread.join()
