"""What tests of call checks share: a Redis of each kind, and the checks on it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from access.audit import Audit, open_audit
from access.credentials import Credentials
from access.guard import Authorizer
from access.keyring import Keyring, new_key
from access.rate_limit import RateLimiter
from access.tokens import Tokens
from access.web import token_router
from adapters.database import open_database
from adapters.event_streams import EventStreams
from adapters.redis import connect
from challenges.calls.api import CallApi
from challenges.calls.checks import CallChecks
from challenges.calls.desk_pages import DeskPages
from challenges.calls.pages import CustomerCallPages
from challenges.calls.store import CallStore
from challenges.links import AccountLinks
from challenges.sessions import InForce, Session, SessionKind, Sessions
from challenges.store import ChallengeStore
from challenges.web import build_app
from tests.conftest import Dial, shared
from tests.serving import listening, served
from tests.shared_servers import Servers
from vedette.settings import AuditSettings, DatabaseSettings, RedisSettings
from vedette.settings_base import Secret


@pytest.fixture(scope="session", params=["embedded", "system"])
def redis_url(request: pytest.FixtureRequest, servers: Servers) -> str:
    """The URL of each kind of Redis in turn."""
    return shared(lambda: servers.url(f"redis-{request.param}"))


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
def checks(redis_url: str, topic_prefix: str, keys: Keyring, dial: Dial, audit: Audit) -> Iterator[CallChecks]:
    """The call checks, on each Redis."""
    client = connect(RedisSettings(url=redis_url))
    store = ChallengeStore(client, topic_prefix)
    calls = CallStore(client, topic_prefix)
    links = AccountLinks("call", store, keys, os.urandom, in_force=lambda _: True, one_live=False)
    limiter = RateLimiter(client, topic_prefix, keys)
    yield CallChecks(calls, store, links, limiter, keys, dial, os.urandom, audit, lambda *_: False)
    client.close()


@dataclass(frozen=True)
class Site:
    """The pages and the API of call checks, on a real server."""

    url: str
    checks: CallChecks
    credentials: Credentials


@pytest.fixture
def site(checks: CallChecks, dial: Dial, audit: Audit, tmp_path: Path) -> Iterator[Site]:
    """A separate server for one test."""
    engine = open_database(DatabaseSettings(url=f"sqlite:///{tmp_path / 'alerts.sqlite'}"))
    credentials = Credentials(engine, checks.keys, dial, os.urandom)
    guard = Authorizer(credentials, Tokens(checks.keys, dial, os.urandom), audit, checks.limiter, dial)

    def in_force(session: Session) -> bool:
        return credentials.by_id(session.subject) is not None

    def sessions(kind: SessionKind, good: InForce) -> Sessions:
        return Sessions(kind, checks.store, checks.keys, os.urandom, secure=False, in_force=good)

    with listening() as (listener, url):
        app = build_app(
            [
                token_router(guard),
                CustomerCallPages(checks, sessions("call", checks.links.good), checks.limiter, EventStreams()).router(),
                DeskPages(checks, guard, sessions("desk", in_force), checks.limiter, EventStreams()).router(),
                CallApi(checks, url).router(guard.authorise),
            ],
            public_url=url,
        )
        with served(app, listener):
            yield Site(url, checks, credentials)
    engine.dispose()
