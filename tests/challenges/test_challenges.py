"""The contract of a challenge, on the embedded Redis and the system's: what settles it, and that it does so once."""

import threading
from collections import Counter
from dataclasses import replace

import msgspec
import pytest

from challenges.challenges import Challenges, ChangedError, UnknownError
from challenges.state_machine import ACCOUNT_FAILURES, ATTEMPTS, FAILURE_WINDOW, LIFETIME, ChallengeAnswer, State
from tests.challenges.conftest import Dial, Notes, answer, app_code, binding, enrol
from vedette.challenge_ids import challenge_id_of
from vedette.clock import SECOND


def told(challenges: Challenges, number: int = 1) -> tuple[str, str]:
    """Return the code and link of a challenge whose customer has just been notified by SMS."""
    challenge_id = challenge_id_of("a-1", f"t-{number}")
    assert challenge_id in challenges.store.due("notify", challenges.clock.now_ms(), 10)
    claimed = challenges.begin_notification(challenge_id, challenges.clock.now_ms() + 10 * SECOND)
    assert claimed is not None
    return claimed[1].code, claimed[1].token


def opened(challenges: Challenges, link: str) -> str:
    """Return the id of the challenge that a link opens."""
    state = challenges.follow(link)
    return state.record.challenge_id if state else ""


def parallel(count: int, challenges: Challenges, given: ChallengeAnswer, challenge_id: str) -> Counter[str]:
    """Return the results of simultaneous answers."""
    results: Counter[str] = Counter()
    gate = threading.Barrier(count)

    def submit() -> None:
        gate.wait()
        result, _ = challenges.answer(challenge_id, given)
        results[result] += 1

    threads = [threading.Thread(target=submit) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.parametrize("factor", ["totp", "sms"])
def test_fifty_parallel_right_answers_are_one_success(challenges: Challenges, dial: Dial, factor: str) -> None:
    """Of 50 simultaneous right answers exactly one approves; the others find the challenge settled."""
    enrol(challenges, totp=factor == "totp")
    record = challenges.issue(binding())
    code = told(challenges)[0] if factor == "sms" else app_code(dial.now)
    results = parallel(50, challenges, answer(challenges, record, code, factor), record.challenge_id)
    assert results == {"approved": 1, "over": 49}
    assert challenges.store.due("out", dial.now, 10) == [
        f"{stage}:{record.challenge_id}" for stage in ("issued", "settled")
    ]


def test_fifty_parallel_wrong_answers_are_five_attempts(challenges: Challenges) -> None:
    """However many wrong answers arrive at once, five are counted, and the fifth blocks."""
    account = enrol(challenges)
    record = challenges.issue(binding())
    results = parallel(50, challenges, answer(challenges, record, "000000"), record.challenge_id)
    assert results == {"wrong": ATTEMPTS - 1, "blocked": 1, "over": 50 - ATTEMPTS}
    assert challenges.store.account(account.account_id).failures == ATTEMPTS


def test_a_challenge_asked_for_again_is_the_same(challenges: Challenges, dial: Dial) -> None:
    """A repeated decision issues and queues nothing new, and does not move the end."""
    enrol(challenges)
    first = challenges.issue(binding())
    dial.now += SECOND
    assert challenges.issue(binding()) == first
    assert len(challenges.store.due("out", dial.now, 10)) == 1


@pytest.mark.parametrize("changed", [{"amount": 12_346}, {"currency": "USD"}, {"payee": "Another"}])
def test_asked_for_with_another_payment_it_is_void(challenges: Challenges, changed: dict[str, object]) -> None:
    """Another amount, currency or payee for the same transaction blocks the challenge, and says so."""
    enrol(challenges)
    record = challenges.issue(binding())
    with pytest.raises(ChangedError, match="t-1"):
        challenges.issue(binding(**changed))
    state = challenges.get(record.challenge_id)
    assert state is not None
    assert (state.record.status, state.record.cause, state.record.action) == ("blocked", "changed", "decline")


@pytest.mark.parametrize("changed", [{"amount": 1}, {"currency": "USD"}, {"payee": "Another"}])
def test_edited_where_it_is_stored_it_is_void(challenges: Challenges, dial: Dial, changed: dict[str, object]) -> None:
    """A record whose amount, currency or payee was changed accepts no answer, not even a right one."""
    enrol(challenges)
    record = challenges.issue(binding())
    state = challenges.get(record.challenge_id)
    assert state is not None
    edited = msgspec.structs.replace(record, binding=msgspec.structs.replace(record.binding, **changed))
    assert challenges.store.replace(state, State(edited, state.account))
    result, settled = challenges.answer(record.challenge_id, answer(challenges, edited, app_code(dial.now)))
    assert (result, settled.cause) == ("blocked", "changed")


def test_an_answer_to_what_was_not_shown_is_void(challenges: Challenges, dial: Dial) -> None:
    """A right code with the seal of another amount approves nothing."""
    enrol(challenges)
    record = challenges.issue(binding())
    seen = challenges.shown(record.challenge_id, binding(amount=1))
    result, _ = challenges.answer(record.challenge_id, ChallengeAnswer("totp", app_code(dial.now), seen))
    assert result == "blocked"


def test_a_totp_step_is_accepted_once_over_all_challenges(challenges: Challenges, dial: Dial) -> None:
    """The code that approved one payment approves no other, nor does an older one; the code of the next step does."""
    enrol(challenges)
    first, second = challenges.issue(binding(1)), challenges.issue(binding(2))
    code, before = app_code(dial.now), app_code(dial.now, -1)
    assert challenges.answer(first.challenge_id, answer(challenges, first, code))[0] == "approved"
    assert challenges.answer(second.challenge_id, answer(challenges, second, code))[0] == "wrong"
    assert challenges.answer(second.challenge_id, answer(challenges, second, before))[0] == "wrong"
    dial.now += 30 * SECOND
    assert challenges.answer(second.challenge_id, answer(challenges, second, app_code(dial.now)))[0] == "approved"


@pytest.mark.parametrize(("steps", "result"), [(-2, "wrong"), (-1, "approved"), (0, "approved"), (1, "wrong")])
def test_a_totp_step_may_be_one_late_and_never_early(
    challenges: Challenges, dial: Dial, steps: int, result: str
) -> None:
    """The present step and the one before it are accepted, but no future or older step."""
    enrol(challenges)
    record = challenges.issue(binding())
    assert challenges.answer(record.challenge_id, answer(challenges, record, app_code(dial.now, steps)))[0] == result


def test_a_new_sms_voids_the_code_and_the_link_before(challenges: Challenges) -> None:
    """After a resend only the new code and the new link are valid, from the moment of the request."""
    enrol(challenges, totp=False)
    record = challenges.issue(binding())
    old_code, old_link = told(challenges)
    assert challenges.ask(record.challenge_id, "sms")
    assert challenges.answer(record.challenge_id, answer(challenges, record, old_code, "sms"))[0] == "wrong"
    code, link = told(challenges)
    assert challenges.answer(record.challenge_id, answer(challenges, record, old_code, "sms"))[0] == "wrong"
    assert challenges.follow(old_link) is None
    assert opened(challenges, link) == record.challenge_id
    assert challenges.answer(record.challenge_id, answer(challenges, record, f" {code[:4]} {code[4:]}", "sms"))[0] == (
        "approved"
    )


def test_a_link_is_good_once(challenges: Challenges, dial: Dial) -> None:
    """A used link, an expired link and an unknown link all find nothing."""
    enrol(challenges)
    record = challenges.issue(binding())
    link = challenges.new_link(record.challenge_id)
    assert link is not None
    assert len(link) >= 32
    assert opened(challenges, link) == record.challenge_id
    assert challenges.follow(link) is None
    assert challenges.follow("never was") is None
    late = challenges.new_link(record.challenge_id)
    dial.now += LIFETIME
    assert late is not None
    assert challenges.follow(late) is None


def test_a_link_is_good_before_its_sending_is_written_down(challenges: Challenges, dial: Dial) -> None:
    """A customer who taps the link while the sender still records the sending gets in, and only once."""
    enrol(challenges)
    record = challenges.issue(binding())
    _, link = told(challenges)
    sending = challenges.get(record.challenge_id)
    assert sending is not None

    class Meanwhile(Dial):
        """A clock that lets the sender write at each call."""

        def now_ms(self) -> int:
            challenges.end_notification(sending.record, "sent")
            return dial.now

    assert opened(replace(challenges, clock=Meanwhile()), link) == record.challenge_id
    after = challenges.get(record.challenge_id)
    assert after is not None
    assert after.record.notification == "sent"
    assert challenges.follow(link) is None


def test_codes_links_and_secrets_are_nowhere_in_the_clear(challenges: Challenges) -> None:
    """Neither the code, nor the link's token, nor the app's secret is stored in plain text."""
    enrol(challenges)
    record = challenges.issue(binding())
    assert challenges.ask(record.challenge_id, "sms")
    code, token = told(challenges)
    client = challenges.store._client
    stored = b"".join(
        key + (client.get(key) or b"") if client.type(key) == b"string" else key
        for key in client.scan_iter(match=f"{challenges.store._prefix}*")
    )
    assert record.challenge_id.encode() in stored
    for secret in (code.encode(), token.encode(), b"a secret of 20 bytes"):
        assert secret not in stored


def test_the_account_is_throttled_over_many_challenges(challenges: Challenges, dial: Dial) -> None:
    """After ten wrong answers on any challenges of an account, no answer is checked until a day has passed."""
    enrol(challenges)
    judged = 0
    for number in range(ACCOUNT_FAILURES):
        record = challenges.issue(binding(number))
        for _ in range(2):
            result, settled = challenges.answer(record.challenge_id, answer(challenges, record, "000000"))
            judged += settled.cause != "account locked"
    assert judged == ACCOUNT_FAILURES
    locked = challenges.issue(binding(98))
    result, settled = challenges.answer(locked.challenge_id, answer(challenges, locked, app_code(dial.now)))
    assert (result, settled.cause) == ("blocked", "account locked")
    dial.now += FAILURE_WINDOW
    later = challenges.issue(binding(99))
    assert challenges.answer(later.challenge_id, answer(challenges, later, app_code(dial.now)))[0] == "approved"


def test_a_denied_challenge_stays_denied(challenges: Challenges, dial: Dial) -> None:
    """A customer's "this was not me" declines, and no right code afterwards changes that."""
    enrol(challenges)
    record = challenges.issue(binding())
    result, settled = challenges.deny(record.challenge_id)
    assert (result, settled.status, settled.action) == ("denied", "denied", "decline")
    assert challenges.answer(record.challenge_id, answer(challenges, record, app_code(dial.now)))[0] == "over"


@pytest.mark.parametrize(("amount", "action"), [(3000, "approve"), (3001, "review")])
def test_a_time_out_follows_the_amount(challenges: Challenges, dial: Dial, amount: int, action: str) -> None:
    """When a notified customer does not answer for five minutes, a small payment is released and a larger one held."""
    enrol(challenges)
    record = challenges.issue(binding(amount=amount))
    told(challenges)
    state = challenges.get(record.challenge_id)
    assert state is not None
    challenges.end_notification(state.record, "sent")
    dial.now += LIFETIME - 1
    assert challenges.sweep() == 0
    dial.now += 1
    assert challenges.sweep() == 1
    assert challenges.sweep() == 0
    state = challenges.get(record.challenge_id)
    assert state is not None
    assert (state.record.status, state.record.action) == ("expired", action)


def test_too_late_is_expired_even_if_nobody_swept(challenges: Challenges, dial: Dial) -> None:
    """A right code after five minutes approves nothing."""
    enrol(challenges)
    record = challenges.issue(binding())
    dial.now += LIFETIME
    assert challenges.answer(record.challenge_id, answer(challenges, record, app_code(dial.now)))[0] == "expired"


def test_nobody_enrolled_is_nobody_to_ask(challenges: Challenges, dial: Dial) -> None:
    """The challenge of an account without any factor ends at once, like an unanswered one."""
    record = challenges.issue(binding())
    assert (record.status, record.cause, record.action) == ("expired", "no factor", "review")
    assert challenges.store.due("out", dial.now, 10) == [f"settled:{record.challenge_id}"]


def test_what_is_not_there_is_said(challenges: Challenges) -> None:
    """An unused id and an invalid one are unknown."""
    for identifier in ("", "zzz", challenge_id_of("a", "b")):
        assert challenges.get(identifier) is None
        with pytest.raises(UnknownError):
            challenges.deny(identifier)


def test_wrong_answers_are_on_record(challenges: Challenges, notes: Notes) -> None:
    """Every wrong answer is recorded in the audit log, without the guess."""
    enrol(challenges)
    record = challenges.issue(binding())
    challenges.answer(record.challenge_id, answer(challenges, record, "123987"))
    assert notes.lines == [("challenge.wrong", f"challenge:{record.challenge_id}", {"attempts": "1"})]
    assert notes.actors == ["customer"]
