"""What tests of call checks share: a Redis of each kind, and the checks over it."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI

from alerts.access import Credentials, Guard, Tokens, token_router
from alerts.audit import Audit, open_audit
from alerts.database import open_database
from alerts.mfa.calls.api import calls_router
from alerts.mfa.calls.checks import Checks
from alerts.mfa.calls.desk_pages import desk_router
from alerts.mfa.calls.pages import customer_router
from alerts.mfa.calls.store import CallStore
from alerts.mfa.connection import connect
from alerts.mfa.keyring import Keyring, new_key
from alerts.mfa.limits import Limiter
from alerts.mfa.sessions import Kind, Sessions
from alerts.mfa.store import Store
from alerts.mfa.web import build_app
from stack.process import free_ports
from stack.redis_server import RedisServer
from tests.alerts.conftest import Dial
from tests.conftest import missing, wait_for
from vedette.errors import UnavailableError
from vedette.settings import AuditSettings, IncidentSettings, RedisSettings, Secret


@pytest.fixture(scope="session", params=["embedded", "system"])
def redis_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of each kind of Redis in turn."""
    server = RedisServer(request.param, tmp_path_factory.mktemp(request.param), free_ports(1)[0])
    try:
        server.start()
    except UnavailableError as error:
        missing(error)
    yield server.url
    server.stop()


@pytest.fixture
def audit_settings(tmp_path: Path) -> AuditSettings:
    """Where the audit log is."""
    return AuditSettings(path=str(tmp_path / "audit.jsonl"), key=Secret("k" * 32))


@pytest.fixture
def audit(audit_settings: AuditSettings, dial: Dial) -> Iterator[Audit]:
    """The audit log."""
    with open_audit(audit_settings, dial, "mfa") as opened:
        yield opened


@pytest.fixture
def keys() -> Keyring:
    """A keyring."""
    return Keyring(new_key("k1", os.urandom))


@pytest.fixture
def checks(redis_url: str, topic_prefix: str, keys: Keyring, dial: Dial, audit: Audit) -> Iterator[Checks]:
    """Call checks without a call."""
    client = connect(RedisSettings(url=redis_url))
    store = Store(client, topic_prefix)
    calls = CallStore(client, topic_prefix)
    yield Checks(calls, store, Limiter(store, keys), keys, dial, os.urandom, audit, lambda *_: False)
    client.close()


@dataclass(frozen=True)
class Site:
    """The pages and the API of call checks, really served."""

    url: str
    checks: Checks
    credentials: Credentials


@pytest.fixture
def site(checks: Checks, dial: Dial, audit: Audit, tmp_path: Path) -> Iterator[Site]:
    """A server for this test alone."""
    engine = open_database(IncidentSettings(database=f"sqlite:///{tmp_path / 'alerts.sqlite'}"))
    credentials = Credentials(engine, checks.keys, dial, os.urandom)
    guard = Guard(credentials, Tokens(checks.keys, dial, os.urandom), audit, checks.limiter, dial)

    def sessions(kind: Kind) -> Sessions:
        return Sessions(kind, checks.store, checks.keys, os.urandom, secure=False)

    with listening() as (listener, url):
        app = build_app(
            [
                token_router(guard),
                customer_router(checks, sessions("call"), checks.limiter),
                desk_router(checks, guard, sessions("desk"), checks.limiter),
                calls_router(checks, guard, public_url=url),
            ],
            public_url=url,
        )
        with served(app, listener):
            yield Site(url, checks, credentials)
    engine.dispose()


@contextmanager
def listening() -> Iterator[tuple[socket.socket, str]]:
    """A socket on a free port of this machine, and its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener, f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def served(app: FastAPI, listener: socket.socket) -> Iterator[None]:
    """An app that answers on a socket."""
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield
    finally:
        server.should_exit = True
        thread.join()
