"""A process with a web app and background loops, each of which is restarted when it fails."""

import functools
import signal
import socket
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import uvicorn
from starlette.types import ASGIApp

from adapters.http_protocol import BoundedProtocol, ConnectionLimits
from adapters.http_tls import TlsAcceptor, TlsFiles
from vedette.errors import VedetteError

if TYPE_CHECKING:
    import asyncio

Loop = Callable[[threading.Event], None]
"""A function that works until the event is set."""

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Content type of metrics as Prometheus reads them."""

_JOIN_S = 30.0
_LONGEST_PAUSE_S = 30.0


class Readiness:
    """The failing parts of a process by name; empty when everything works. Thread-safe."""

    def __init__(self) -> None:
        self._missing: dict[str, str] = {}

    def missing(self) -> dict[str, str]:
        """Return names and reasons."""
        return dict(self._missing)

    def wait(self, name: str, reason: str) -> None:
        """Record that a part does not work, with the reason."""
        self._missing[name] = reason

    def works(self, name: str) -> None:
        """Record that a part works."""
        self._missing.pop(name, None)


class BackgroundServer(uvicorn.Server):
    """A server that leaves signals to its owner, which has more to stop than the server.

    Args:
        config: See server_config.
        tls: None: plain HTTP.
        limits: Limits of connections.
    """

    def __init__(
        self, config: uvicorn.Config, *, tls: TlsFiles | None = None, limits: ConnectionLimits | None = None
    ) -> None:
        super().__init__(config)
        self._tls, self._limits = tls.context() if tls else None, limits or ConnectionLimits()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; connections with TLS are accepted by an acceptor, whose handshakes have limits."""
        if self._tls is None:
            await super().startup(sockets)
            return
        listeners = sockets or [self.config.bind_socket()]
        await super().startup([])
        for listener in listeners:
            listener.listen(self.config.backlog)
            self.servers.append(
                TlsAcceptor(  # type: ignore[arg-type]
                    listener, self._protocol, self._tls, within_s=self._limits.head_s, most=self._limits.connections
                )
            )

    def _protocol(self) -> "asyncio.Protocol":
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do not capture signals."""
        yield


def server_config(
    app: ASGIApp, *, host: str = "127.0.0.1", port: int = 0, proxies: list[str] | None = None,
    limits: ConnectionLimits | None = None,
) -> uvicorn.Config:  # fmt: skip
    """Return the configuration of uvicorn for all servers.

    Args:
        app: The web app, see http_app.protected_app.
        host: Address to listen on.
        port: Port to listen on.
        proxies: Addresses whose X-Forwarded-For is trusted.
        limits: Limits of connections.
    """
    protocol = functools.partial(BoundedProtocol, limits=limits or ConnectionLimits(), silent=OrderedDict())
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=cast("type[asyncio.Protocol]", protocol),
        ws="none",
        log_config=None,
        log_level="error",  # malformed requests are not logged
        access_log=False,  # paths of links are secret
        server_header=False,
        forwarded_allow_ips=proxies or [],
        timeout_graceful_shutdown=5,
    )


def serve(
    app: ASGIApp, loops: Mapping[str, Loop], *, host: str, port: int, proxies: list[str], readiness: Readiness,
    log: Any, tls: TlsFiles | None = None, limits: ConnectionLimits | None = None,
) -> None:  # fmt: skip
    """Serve the app and run the loops until SIGTERM or SIGINT; call it from the main thread.

    A failed loop is restarted after a pause, which grows to half a minute; meanwhile the app answers, and the readiness
    names the missing part.

    Args:
        app: The web app.
        loops: Background loops by name.
        host: Address to listen on.
        port: Port to listen on.
        proxies: Addresses whose X-Forwarded-For is trusted.
        readiness: Records failing loops.
        log: A structlog logger.
        tls: None: plain HTTP.
        limits: Limits of connections.
    """
    stop = threading.Event()
    config = server_config(app, host=host, port=port, proxies=proxies, limits=limits)
    server = BackgroundServer(config, tls=tls, limits=limits)

    threads = [
        threading.Thread(target=keep_running, args=(name, loop, stop, readiness, log), name=name)
        for name, loop in loops.items()
    ]
    signals = (signal.SIGTERM, signal.SIGINT)
    previous = {number: signal.signal(number, server.handle_exit) for number in signals}
    try:
        for thread in threads:
            thread.start()
        server.run()
    finally:
        stop.set()
        for thread in threads:
            if thread.is_alive():
                thread.join(_JOIN_S)
        for number, handler in previous.items():
            signal.signal(number, handler)


def keep_running(
    name: str, loop: Loop, stop: threading.Event, readiness: Readiness, log: Any, *, first_pause_s: float = 1.0
) -> None:
    """Run a loop, restarting it whenever it fails, until it is stopped."""
    pause_s = first_pause_s
    while not stop.is_set():
        worked = name not in readiness.missing()
        try:
            loop(stop)
        except Exception as error:  # noqa: BLE001, the other parts of the process continue
            # Errors other than Vedette's may quote a message, so only their kind is logged.
            reason = str(error) if isinstance(error, VedetteError) else type(error).__qualname__
            pause_s = first_pause_s if worked else min(2 * pause_s, _LONGEST_PAUSE_S)
            readiness.wait(name, reason)
            log.error(  # noqa: TRY400, a traceback would quote that message
                "loop failed, and is started again", loop=name, reason=reason, pause_s=pause_s
            )
            stop.wait(pause_s)
