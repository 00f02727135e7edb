"""What tests of challenges share: a clock set by hand, keys, a store on each Redis, and a service on it."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import pytest

from access.keyring import Keyring, new_key
from access.rate_limit import RateLimiter
from adapters.redis import connect
from challenges.bootstrap import ChallengeService
from challenges.challenges import Challenges
from challenges.codes import app_of
from challenges.enrol_api import enrolment_link as make_link
from challenges.enrolment import Enrolment
from challenges.passkeys import RelyingParty
from challenges.records import Account, Binding, ChallengeRecord
from challenges.state_machine import ChallengeAnswer, Rules
from challenges.store import ChallengeStore
from stack.redis_server import RedisKind
from tests.conftest import shared
from tests.shared_servers import Servers, SharedRedis
from vedette.settings import RedisSettings

ORIGIN = "http://localhost:8080"
PARTY = RelyingParty("Vedette", "localhost", ORIGIN)
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

    actors: list[str] = field(default_factory=list)

    def record(self, event: str, subject: str, details: Mapping[str, str], *, actor: str = "") -> None:
        """See Audit."""
        self.lines.append((event, subject, dict(details)))
        self.actors.append(actor)


@pytest.fixture(scope="session")
def redis_of(servers: Servers) -> Callable[[RedisKind], SharedRedis]:
    """The shared Redis of a kind; leave it running."""
    return lambda kind: SharedRedis(shared(lambda: servers.url(f"redis-{kind}")))


@pytest.fixture(params=["embedded", "system"])
def redis_url(request: pytest.FixtureRequest, redis_of: Callable[[RedisKind], SharedRedis]) -> str:
    """Each Redis in turn."""
    return redis_of(request.param).url


@pytest.fixture
def store(redis_url: str, topic_prefix: str) -> Iterator[ChallengeStore]:
    """An empty store."""
    client = connect(RedisSettings(url=redis_url))
    yield ChallengeStore(client, topic_prefix)
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
    """Rules with every factor, and up to 30 euros approved without an answer."""
    return Rules(order=("passkey", "totp", "sms"), release={"EUR": 3000}, party=PARTY)


@pytest.fixture
def challenges(store: ChallengeStore, keys: Keyring, rules: Rules, dial: Dial, notes: Notes) -> Challenges:
    """The service, on each Redis."""
    return Challenges(store, keys, rules, dial, os.urandom, notes)


@pytest.fixture
def enrolment(store: ChallengeStore, keys: Keyring, dial: Dial, notes: Notes) -> Enrolment:
    """Enrolment on each Redis, without SMS."""
    return Enrolment(
        store, keys, PARTY, RateLimiter(store._client, store._prefix, keys), lambda *_: False, dial, os.urandom, notes
    )


def binding(number: int = 1, **changes: object) -> Binding:
    """Return a payment; keywords change its fields."""
    fields: dict[str, object] = {
        "transaction_id": f"t-{number}", "account_id": "a-1", "amount": 12_345, "currency": "EUR", "payee": "Shop & Co",
    }  # fmt: skip
    return Binding(**fields | changes)  # type: ignore[arg-type]


def enrol(challenges: Challenges, account_id: str = "a-1", *, phone: str = PHONE, totp: bool = True) -> Account:
    """Add an account with a phone and an app directly to the store."""
    sealed = challenges.keys.seal(SECRET, f"totp {account_id}", os.urandom) if totp else ""
    account = Account(account_id=account_id, phone=phone, totp=sealed)
    assert challenges.store.replace_account(challenges.store.account(account_id), account)
    return account


def app_code(now: int, steps: int = 0) -> str:
    """Return the app's code this many steps from now."""
    return app_of(SECRET).at(now // 1000, counter_offset=steps)


def answer(challenges: Challenges, record: ChallengeRecord, value: str, factor: str = "totp") -> ChallengeAnswer:
    """Return an answer from a page that showed the challenge as it was issued."""
    return ChallengeAnswer(factor, value, challenges.shown(record.challenge_id, record.binding))  # type: ignore[arg-type]


def enrolment_link(service: ChallengeService, account_id: str = "a-1", maker: str = "") -> str:
    """Return a link to the enrolment pages."""
    return make_link(service.enrolment, service.enrolment_links, service.public_url, account_id, maker)
