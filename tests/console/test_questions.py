"""Questions to customers from a case, with the challenge store over a real Redis."""

import os
from pathlib import Path
from typing import Any

import pytest

from access.keyring import Keyring
from adapters.redis import connect
from challenges.bootstrap import rules_of
from challenges.challenges import Challenges
from challenges.store import ChallengeStore
from tests.challenges.conftest import Notes, answer, app_code, enrol
from tests.conftest import shared
from tests.console.conftest import Site, alert, opened_site
from tests.shared_servers import Servers
from vedette.challenge_ids import challenge_id_of
from vedette.settings import RedisSettings


@pytest.mark.servers
def test_the_answer_comes_in_on_the_case(servers: Servers, topic_prefix: str, tmp_path: Path, log: Any) -> None:
    """A payment on hold is asked about; the case shows the customer's answer; other payments are not asked about."""
    redis = RedisSettings(url=shared(lambda: servers.url("redis-embedded")), prefix=topic_prefix)
    with opened_site(tmp_path, log, redis=redis) as site:
        client = connect(redis)
        mfa = site.settings.mfa
        assert mfa.keys is not None
        challenges = Challenges(
            ChallengeStore(client, topic_prefix), Keyring(mfa.keys.value), rules_of(mfa), site.clock, os.urandom,
            Notes(),
        )  # fmt: skip
        enrol(challenges, "account-1")
        declined = alert(2, account_id="account-1", action="decline", alert_id="b")
        (number,) = set(site.open(alert(1), declined))
        (nobody,) = site.open(alert(3))
        ana = site.person("analyst", "ana")
        assert ana.get(f"/cases/{number}/question").text.count("Ask now") == 1
        ana.post(f"/cases/{number}/ask", transaction="t1")
        assert "the customer was asked" in ana.get(f"/cases/{number}/question").text
        for transaction, status in (("t2", 409), ("t3", 422), ("", 422)):
            assert ana.post(f"/cases/{number}/ask", transaction=transaction).status_code == status
        state = challenges.get(challenge_id_of("account-1", "t1"))
        assert state is not None
        assert state.record.issued_by == "ana"
        result, _ = challenges.answer(
            state.record.challenge_id, answer(challenges, state.record, app_code(site.clock.now))
        )
        assert result == "approved"
        shown = ana.get(f"/cases/{number}/question").text
        assert "the customer approved" in shown
        assert "every 3s" not in shown
        ana.post(f"/cases/{nobody}/ask", transaction="t3")
        assert "the customer cannot be asked" in ana.get(f"/cases/{nobody}/question").text
        ana.post(f"/cases/{nobody}/close", decision="false_alarm")
        assert ana.post(f"/cases/{nobody}/ask", transaction="t3").status_code == 422
        assert next(record.details["transaction"] for record in site.audited("incident.customer-asked")) == "t1"
        client.close()


def test_without_redis_the_case_says_so(shared_site: Site) -> None:
    """The rest of the case is shown."""
    person = shared_site.person()
    assert "not available now" in person.get("/cases/1/question").text
    assert person.get("/cases/1").status_code == 200
