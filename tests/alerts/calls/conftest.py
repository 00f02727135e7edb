"""What tests of call checks share: a Redis of each kind, and the checks over it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from alerts.audit import Audit, open_audit
from alerts.mfa.calls.checks import Checks
from alerts.mfa.calls.store import CallStore
from alerts.mfa.connection import connect
from alerts.mfa.keyring import Keyring, new_key
from alerts.mfa.limits import Limiter
from alerts.mfa.store import Store
from stack.process import free_ports
from stack.redis_server import RedisServer
from tests.alerts.conftest import Dial
from tests.conftest import missing
from vedette.errors import UnavailableError
from vedette.settings import AuditSettings, RedisSettings, Secret


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
    yield Checks(CallStore(client, topic_prefix), store, Limiter(store, keys), keys, dial, os.urandom, audit)
    client.close()
