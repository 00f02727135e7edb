from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from access.keyring import Keyring
from adapters.redis import connect
from challenges.challenges import Challenges
from challenges.state_machine import Rules
from challenges.store import ChallengeStore
from stack.redis_pair import RedisPair
from tests.challenges.conftest import Dial, Notes, answer, app_code, binding, enrol
from tests.conftest import missing, wait_for
from vedette.errors import SettingsError, UnavailableError
from vedette.settings import RedisSettings

pytestmark = pytest.mark.servers


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[RedisPair]:
    """A master and a replica, watched by a Sentinel."""
    with ExitStack() as stack:
        try:
            started = stack.enter_context(RedisPair(tmp_path, "system"))
        except UnavailableError as error:
            missing(error)
        yield started


def test_a_challenge_outlives_its_redis(pair: RedisPair, keys: Keyring, rules: Rules, dial: Dial) -> None:
    """When the master dies, a challenge issued there is approved, once, on the replica that the Sentinel promotes."""
    client = connect(RedisSettings(url=pair.url))
    challenges = Challenges(ChallengeStore(client, "t-"), keys, rules, dial, lambda size: b"\x07" * size, Notes())
    enrol(challenges)
    record = challenges.issue(binding())
    client.wait(1, 10_000)
    pair.master.kill()
    with pytest.raises(UnavailableError, match="Redis: "):
        challenges.get(record.challenge_id)

    def found() -> bool:
        try:
            return challenges.get(record.challenge_id) is not None
        except UnavailableError:
            return False

    wait_for(found)
    given = answer(challenges, record, app_code(dial.now))
    assert challenges.answer(record.challenge_id, given)[0] == "approved"
    assert challenges.answer(record.challenge_id, given)[0] == "over"
    client.close()


@pytest.mark.parametrize("url", ["redis+sentinel://localhost:1", "rediss+sentinel://:secret@localhost/vedette"])
def test_a_sentinel_url_names_its_service_and_no_password(url: str) -> None:
    """Missing and invalid parts of the URL are named, and no secret is repeated."""
    with pytest.raises(SettingsError, match="host:port/service, without a password") as error:
        connect(RedisSettings(url=url))
    assert "secret" not in str(error.value)
