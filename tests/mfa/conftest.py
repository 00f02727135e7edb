"""What tests of challenges share: a clock set by hand, keys, a store over each Redis, and a service over it."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, sync_playwright

from alerts.mfa.challenges import Challenges
from alerts.mfa.codes import app_of
from alerts.mfa.connection import connect
from alerts.mfa.engine import Answer, Rules
from alerts.mfa.keyring import Keyring, new_key
from alerts.mfa.passkeys import Party
from alerts.mfa.records import Account, Binding, Record
from alerts.mfa.store import Store
from stack.process import free_ports
from stack.redis_server import RedisKind, RedisServer
from tests.conftest import missing
from vedette.errors import UnavailableError
from vedette.settings import RedisSettings

ORIGIN = "http://localhost:8080"
SECRET = b"a secret of 20 bytes"
PHONE = "+34600000001"


class Dial:
    """A clock set by hand."""

    def __init__(self, now: int = 1_700_000_000_000) -> None:
        self.now = now

    def now_ms(self) -> int:
        """The time it was set to."""
        return self.now


@dataclass
class Notes:
    """An audit log in memory."""

    lines: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def record(self, event: str, subject: str, details: Mapping[str, str]) -> None:
        """See Audit."""
        self.lines.append((event, subject, dict(details)))


@pytest.fixture(scope="session")
def redis_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[RedisKind], RedisServer]]:
    """Starts a Redis of a kind, once."""
    started: dict[RedisKind, RedisServer] = {}

    def start(kind: RedisKind) -> RedisServer:
        if kind not in started:
            server = RedisServer(kind, tmp_path_factory.mktemp(kind), *free_ports(1))
            try:
                server.start()
            except UnavailableError as error:
                missing(error)
            started[kind] = server
        return started[kind]

    yield start
    for server in started.values():
        server.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; no longer than a module, since as long as it is there an event loop counts as running."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        missing(UnavailableError("there is no chromium on PATH", remedy="run scripts/install-test-deps --browser"))
    with sync_playwright() as playwright:
        sandbox = ["--no-sandbox"] if os.getuid() == 0 else []
        launched = playwright.chromium.launch(executable_path=program, args=sandbox)
        yield launched
        launched.close()


@pytest.fixture(params=["embedded", "system"])
def redis_url(request: pytest.FixtureRequest, redis_of: Callable[[RedisKind], RedisServer]) -> str:
    """Each Redis in turn."""
    return redis_of(request.param).url


@pytest.fixture
def store(redis_url: str, topic_prefix: str) -> Iterator[Store]:
    """An empty store."""
    client = connect(RedisSettings(url=redis_url))
    yield Store(client, topic_prefix)
    client.close()


@pytest.fixture
def dial() -> Dial:
    """A clock set by hand."""
    return Dial()


@pytest.fixture
def notes() -> Notes:
    """An audit log."""
    return Notes()


@pytest.fixture(scope="session")
def keys() -> Keyring:
    """A keyring of one key."""
    return Keyring(new_key("k1", os.urandom))


@pytest.fixture
def rules() -> Rules:
    """Every factor, and up to 30 euros let through when nobody answers."""
    return Rules(order=("passkey", "totp", "sms"), release={"EUR": 3000}, party=Party("Vedette", "localhost", ORIGIN))


@pytest.fixture
def challenges(store: Store, keys: Keyring, rules: Rules, dial: Dial, notes: Notes) -> Challenges:
    """The service, over each Redis."""
    return Challenges(store, keys, rules, dial, os.urandom, notes)


def binding(number: int = 1, **changes: object) -> Binding:
    """A payment; keywords change it."""
    fields: dict[str, object] = {
        "transaction_id": f"t-{number}", "account_id": "a-1", "amount": 12_345, "currency": "EUR", "payee": "Shop & Co",
    }  # fmt: skip
    return Binding(**fields | changes)  # type: ignore[arg-type]


def enrol(challenges: Challenges, account_id: str = "a-1", *, phone: str = PHONE, totp: bool = True) -> Account:
    """An account with a phone and an app, put straight into the store."""
    sealed = challenges.keys.seal(SECRET, f"totp {account_id}", os.urandom) if totp else ""
    account = Account(account_id=account_id, phone=phone, totp=sealed)
    assert challenges.store.replace_account(challenges.store.account(account_id), account)
    return account


def app_code(now: int, steps: int = 0) -> str:
    """What the app shows so many steps from now."""
    return app_of(SECRET).at(now // 1000, counter_offset=steps)


def answer(challenges: Challenges, record: Record, value: str, factor: str = "totp") -> Answer:
    """An answer from a page that showed the challenge as it was issued."""
    return Answer(factor, value, challenges.shown(record.challenge_id, record.binding))  # type: ignore[arg-type]
