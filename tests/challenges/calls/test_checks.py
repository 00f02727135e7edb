import re
import threading
from collections import Counter
from pathlib import Path

import pytest

from access.audit import show, verify
from access.keyring import Keyring, new_key
from challenges.calls.checks import PER_ACCOUNT, BusyError, CallChecks
from challenges.calls.state_machine import ATTEMPTS, LIFETIME, Call, CustomerView, code, event_of
from tests.conftest import Dial
from vedette.clock import HOUR
from vedette.settings import AuditSettings

ANN, BOB = "ann", "bob"
ACCOUNT = "DE0212030000000020205155"


def heard(checks: CallChecks) -> tuple[Call, str]:
    """Return a check whose customer has heard code A, and its code B."""
    call = checks.hear(checks.start(ACCOUNT, ANN).call_id)
    assert call is not None
    return call, checks.customer_view(call).code_b


def ended(checks: CallChecks, call: Call) -> str:
    """Return the status of a check."""
    found = checks.get(call.call_id)
    assert found is not None
    return found.status


def test_both_sides_prove_who_they_are(checks: CallChecks, dial: Dial) -> None:
    """Both screens show the same A, then only the customer's shows B, and B entered at the desk verifies the check."""
    call = checks.start(ACCOUNT, ANN)
    desk, customer = checks.desk_view(call, ANN), checks.customer_view(call)
    assert desk.code_a == customer.code_a
    assert re.fullmatch("[0-9]{8}", desk.code_a)
    assert customer.code_b == ""
    call, code_b = heard(checks)
    assert re.fullmatch("[0-9]{8}", code_b)
    assert code_b != desk.code_a
    dial.now += 1000
    settled = checks.check_code(call.call_id, ANN, f" {code_b[:4]} {code_b[4:]} ")
    assert settled is not None
    assert (settled.status, settled.settled_at) == ("verified", dial.now)
    event = event_of(settled)
    assert (event.status, event.account_id, event.representative, event.attempts) == ("verified", ACCOUNT, ANN, 0)


def test_codes_belong_to_their_call(checks: CallChecks, keys: Keyring, dial: Dial) -> None:
    """No two checks share codes, nor do accounts, directions or keys; a later check makes a code void."""
    call, code_b = heard(checks)
    checks.cancel(call.call_id, ANN)
    dial.now += 1
    later, later_b = heard(checks)
    assert later_b != code_b
    wrong = checks.check_code(later.call_id, ANN, code_b)
    assert wrong is not None
    assert (wrong.status, wrong.attempts) == ("heard", 1)
    seen = {code(c, side, k) for c in (call, later) for side in ("a", "b") for k in (keys,)}  # type: ignore[arg-type]
    assert len(seen) == 4
    assert code(call, "b", Keyring(new_key("k2", lambda n: b"2" * n))) == ""


def test_a_new_key_leaves_running_checks_alone(checks: CallChecks, keys: Keyring) -> None:
    """While a key is replaced, the codes of a check in progress stay the same."""
    call, code_b = heard(checks)
    before = new_key("old", lambda n: b"o" * n)
    old = Keyring(before)
    started = Call(call_id="0x", account_id="a", direction="bank", key="old", started_at=0, expires_at=1)
    rotated = Keyring(f"{new_key('new', lambda n: b'n' * n)} {before}")
    assert code(started, "b", old) == code(started, "b", rotated) != ""
    assert code(call, "b", keys) == code_b


def test_nothing_is_judged_before_the_customer_has_heard(checks: CallChecks, keys: Keyring) -> None:
    """Before the customer has heard A, even the right B is neither accepted nor counted as an attempt."""
    call = checks.start(ACCOUNT, ANN)
    after = checks.check_code(call.call_id, ANN, code(call, "b", keys))
    assert after == call


def test_the_third_wrong_code_blocks(checks: CallChecks) -> None:
    """Wrong codes are counted on both screens; after the third, not even the right one is accepted."""
    call, code_b = heard(checks)
    for left in range(ATTEMPTS - 1, 0, -1):
        after = checks.check_code(call.call_id, ANN, "00000000")
        assert after is not None
        assert checks.desk_view(after, ANN).attempts_left == checks.customer_view(after).attempts_left == left
    checks.check_code(call.call_id, ANN, "00000000")
    checks.check_code(call.call_id, ANN, code_b)
    assert ended(checks, call) == "blocked"


def test_a_check_lasts_two_minutes(checks: CallChecks, dial: Dial) -> None:
    """After two minutes no step has an effect, both sides see that it has expired, and the sweep records it."""
    call, code_b = heard(checks)
    dial.now += LIFETIME - 1
    assert checks.sweep() == 0
    assert checks.desk_view(call, ANN).seconds_left == 1
    dial.now += 1
    for after in (
        checks.check_code(call.call_id, ANN, code_b),
        checks.dispute(call.call_id),
        checks.cancel(call.call_id, ANN),
    ):
        assert after == call
    assert checks.desk_view(call, ANN).status == "expired"
    customer = checks.customer_view(call)
    assert (customer.status, customer.code_a, customer.code_b) == ("expired", "", "")
    assert checks.sweep() == 1
    assert ended(checks, call) == "expired"


def test_the_customer_may_say_it_was_another_code(checks: CallChecks) -> None:
    """A customer who heard another code, even after confirming it, ends the check as denied."""
    first = checks.start(ACCOUNT, ANN)
    checks.dispute(first.call_id)
    assert ended(checks, first) == "denied"
    second, code_b = heard(checks)
    checks.dispute(second.call_id)
    checks.check_code(second.call_id, ANN, code_b)
    assert ended(checks, second) == "denied"


def test_a_customer_who_calls_begins_it(checks: CallChecks) -> None:
    """A customer's check waits for a representative, who takes it and reads out A; nobody sees A before that."""
    call = checks.start_by_customer(ACCOUNT)
    assert checks.start_by_customer(ACCOUNT) == call
    assert checks.hear(call.call_id) == call
    taken = checks.start(ACCOUNT, ANN)
    assert (taken.call_id, taken.direction, taken.representative) == (call.call_id, "customer", ANN)
    assert checks.desk_view(taken, ANN).code_a == checks.customer_view(taken).code_a != ""
    with pytest.raises(BusyError, match="another representative"):
        checks.start(ACCOUNT, BOB)
    heard_, code_b = heard(checks)
    checks.check_code(heard_.call_id, ANN, code_b)
    assert ended(checks, call) == "verified"


def test_a_check_is_its_representatives_own(checks: CallChecks) -> None:
    """Another representative sees no code, and can neither enter one nor end the check."""
    call, code_b = heard(checks)
    assert checks.desk_view(call, BOB).code_a == ""
    assert checks.check_code(call.call_id, BOB, code_b) == call
    assert checks.cancel(call.call_id, BOB) == call
    assert checks.start(ACCOUNT, ANN) == call


def test_checks_of_an_account_are_limited(checks: CallChecks, dial: Dial) -> None:
    """Nobody can keep guessing by starting one check after another, not even across the full hour."""
    dial.now -= dial.now % HOUR + 1
    for _ in range(PER_ACCOUNT.count):
        checks.cancel(checks.start(ACCOUNT, ANN).call_id, ANN)
    dial.now += 2
    with pytest.raises(BusyError, match="too many"):
        checks.start(ACCOUNT, ANN)
    checks.start("another", ANN)
    dial.now += HOUR
    checks.start(ACCOUNT, ANN)


@pytest.mark.parametrize("right", [True, False])
def test_parallel_codes_count_one_by_one(checks: CallChecks, right: bool) -> None:
    """Of 50 simultaneous correct codes one verifies; of 50 wrong ones exactly three are checked."""
    call, code_b = heard(checks)
    barrier = threading.Barrier(50)
    results: list[Call | None] = []

    def type_in() -> None:
        barrier.wait()
        results.append(checks.check_code(call.call_id, ANN, code_b if right else "x"))

    threads = [threading.Thread(target=type_in) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 50
    settled = checks.get(call.call_id)
    assert settled is not None
    assert (settled.status, settled.attempts) == (("verified", 0) if right else ("blocked", ATTEMPTS))


def test_parallel_starts_make_one_check(checks: CallChecks) -> None:
    """When representatives and a customer start at once, one check begins, and at most one representative has it."""
    barrier = threading.Barrier(12)
    results: list[str] = []

    def start(number: int) -> None:
        barrier.wait()
        try:
            call = checks.start(ACCOUNT, f"r{number}") if number else checks.start_by_customer(ACCOUNT)
        except BusyError:
            results.append("busy")
        else:
            results.append(call.call_id)

    threads = [threading.Thread(target=start, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tally = Counter(results)
    assert tally.pop("busy") == 10
    assert list(tally.values()) == [2]


def test_links_open_once(checks: CallChecks) -> None:
    """A link of 192 bits leads to its account once, however many requests race, and never again."""
    token = checks.new_link(ACCOUNT)
    assert len(token) == 32
    assert ACCOUNT not in token
    barrier = threading.Barrier(20)
    results: list[str | None] = []

    def follow() -> None:
        barrier.wait()
        session = checks.follow(token)
        results.append(session.subject if session else None)

    threads = [threading.Thread(target=follow) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(results) == {None: 19, ACCOUNT: 1}
    assert checks.follow("x" * 32) is None


def test_what_is_not_there_is_none(checks: CallChecks) -> None:
    """An id that was never issued finds nothing, whatever it looks like."""
    for call_id in ("", "zzz", "0aaaa", "é"):
        assert checks.get(call_id) is None
        assert checks.hear(call_id) is None
    assert checks.of_account("nobody") is None


def test_every_step_is_in_the_log_and_no_code(checks: CallChecks, audit_settings: AuditSettings, dial: Dial) -> None:
    """Every event of a check is recorded with its actor; codes and links are neither in the log nor in Redis."""
    token = checks.new_link(ACCOUNT)
    checks.follow(token)
    checks.start_by_customer(ACCOUNT)
    call = checks.start(ACCOUNT, ANN)
    code_a = checks.desk_view(call, ANN).code_a
    call, code_b = heard(checks)
    checks.check_code(call.call_id, ANN, "1234")
    checks.check_code(call.call_id, ANN, code_b)
    checks.start(ACCOUNT, ANN)
    dial.now += LIFETIME
    checks.sweep()
    assert [(r.event, r.actor) for r in show(audit_settings)] == [
        ("call.link_made", "mfa"),
        ("call.link_followed", "customer"),
        ("call.started", "customer"),
        ("call.taken", ANN),
        ("call.heard", "customer"),
        ("call.wrong", ANN),
        ("call.verified", ANN),
        ("call.started", ANN),
        ("call.expired", "mfa"),
    ]
    assert verify(audit_settings).ok
    kept = Path(audit_settings.path).read_text(encoding="utf-8")
    client = checks.calls._client
    for key in client.scan_iter(count=1000):
        kept += key.decode() + str(client.dump(key)) + str(client.get(key) if client.type(key) == b"string" else "")
    for secret in (token, code_a, code_b):
        assert secret not in kept


def test_no_code_is_for_the_wrong_side(checks: CallChecks) -> None:
    """In every state the representative's view has no field for B, and the customer's has B only once A is heard."""
    assert not [name for name in checks.desk_view(checks.start(ACCOUNT, ANN), ANN).__slots__ if "b" in name.split("_")]

    def shown(view: CustomerView) -> tuple[bool, bool]:
        return bool(view.code_a), bool(view.code_b)

    call = checks.start(ACCOUNT, ANN)
    assert shown(checks.customer_view(call)) == (True, False)
    call, code_b = heard(checks)
    assert shown(checks.customer_view(call)) == (True, True)
    settled = checks.check_code(call.call_id, ANN, code_b)
    assert settled is not None
    assert shown(checks.customer_view(settled)) == (False, False)
    assert checks.desk_view(settled, ANN).code_a == ""
