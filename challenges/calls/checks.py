"""Call checks: start, take, hear, dispute, check codes, cancel, expire, and links to pages."""

import base64
from collections.abc import Callable
from dataclasses import dataclass

from access.keyring import Entropy, Keyring
from access.ports import CUSTOMER, AuditSink
from access.rate_limit import RateLimit, RateLimiter
from challenges.calls import state_machine
from challenges.calls.state_machine import Call, CustomerView, DeskView
from challenges.calls.store import CallStore
from challenges.compare_and_set import update
from challenges.links import AccountLinks
from challenges.records import Account
from challenges.sessions import Session
from challenges.store import ChallengeStore
from vedette.challenge_ids import shard_of
from vedette.clock import HOUR, Clock
from vedette.errors import InputError
from vedette.events import Direction

PER_ACCOUNT = RateLimit("calls", 20, HOUR)
"""Checks of one account in any hour: with 3 guesses each, the odds of a hit are 60 in 10^8, below 1 in a million."""

SendLink = Callable[[Account, str, str], bool]
"""Sends the link of a token to an account's phone, under a message reference; returns whether it may have been sent."""

_BATCH = 100


Latest = tuple[str, Call | None]
"""Id of an account's latest check, empty without one, and the check."""


class BusyError(InputError):
    """The account's check belongs to another representative, or there were too many of them."""


@dataclass(frozen=True, slots=True)
class CallChecks:
    """Call checks, for both screens and the API.

    Args:
        calls: Store of the checks.
        store: Store of the phone numbers.
        links: Links to the customers' pages.
        limiter: Counts the checks of an account.
        keys: The keyring.
        clock: The clock.
        entropy: Source of unpredictable bytes.
        audit: Records every step.
        send: Sends a link by SMS.
    """

    calls: CallStore
    store: ChallengeStore
    links: AccountLinks
    limiter: RateLimiter
    keys: Keyring
    clock: Clock
    entropy: Entropy
    audit: AuditSink
    send: SendLink

    def start(self, account_id: str, representative: str) -> Call:
        """Start a check by a representative, or take the one that the customer has started.

        Raises:
            BusyError: Another representative has an open check of this account, or there were too many.
        """

        def step(current: Call | None) -> tuple[Call, str]:
            if current is None:
                return self._new(account_id, "bank", representative), "started"
            if current.representative not in ("", representative):
                raise BusyError("another representative is checking a call with this customer", remedy="ask them")
            return state_machine.take(current, representative, self.clock.now_ms()), "taken"

        return self._begin(account_id, step, representative)

    def start_by_customer(self, account_id: str) -> Call:
        """Start a check by a customer who has called the bank; an open check is continued.

        Raises:
            BusyError: There were too many.
        """
        return self._begin(
            account_id, lambda current: (current or self._new(account_id, "customer", ""), "started"), CUSTOMER
        )

    def get(self, call_id: str) -> Call | None:
        """Return a check, or None where there is none."""
        return self.calls.get(call_id)

    def of_account(self, account_id: str) -> Call | None:
        """Return the account's latest check, open or not."""
        return self.calls.get(self.calls.latest(account_id))

    def desk_view(self, call: Call, representative: str) -> DeskView:
        """Return the check as a representative sees it."""
        return state_machine.desk_view(call, representative, self.keys, self.clock.now_ms())

    def customer_view(self, call: Call) -> CustomerView:
        """Return the check as its customer sees it."""
        return state_machine.customer_view(call, self.keys, self.clock.now_ms())

    def hear(self, call_id: str) -> Call | None:
        """Record that the customer has heard code A."""
        return self._step(call_id, state_machine.hear, CUSTOMER)

    def dispute(self, call_id: str) -> Call | None:
        """Record that the customer heard a different code."""
        return self._step(call_id, state_machine.dispute, CUSTOMER)

    def cancel(self, call_id: str, representative: str) -> Call | None:
        """End the check by the representative."""
        return self._step(call_id, lambda call, now: state_machine.cancel(call, representative, now), representative)

    def check_code(self, call_id: str, representative: str, text: str) -> Call | None:
        """Verify the code entered by the representative."""
        return self._step(
            call_id,
            lambda call, now: state_machine.check_code(call, representative, text, self.keys, now),
            representative,
        )

    def sweep(self) -> int:
        """Expire overdue checks, and return their number."""
        expired = 0
        for call_id in self.calls.due("open", self.clock.now_ms(), _BATCH):
            if self._step(call_id, state_machine.expire, "") is None:  # forgotten by Redis before anybody swept
                self.calls.forget("open", [call_id])
            expired += 1
        return expired

    def new_link(self, account_id: str, *, actor: str = "") -> str:
        """Return a token for a link to the customer's page, good once and for ten minutes."""
        token = self.links.make(account_id, actor)
        self.audit.record("call.link_made", f"account:{account_id}", {}, actor=actor)
        return token

    def invite(self, call: Call) -> bool:
        """Send the customer a link to their page by SMS; return False if the check is over, or they cannot get one."""
        account = self.store.account(call.account_id)
        if not call.open(self.clock.now_ms()) or not account.phone:
            return False
        token = self.new_link(account.account_id, actor=call.representative)
        sent = self.send(account, token, f"{call.call_id}/{self.clock.now_ms()}")
        self._note("invited" if sent else "not_invited", call, call.representative)
        return sent

    def follow(self, token: str) -> Session | None:
        """Consume a link: return the session it begins, or None if it is unknown, used, expired, or void."""
        session = self.links.follow(token)
        if session:
            self.audit.record("call.link_followed", f"account:{session.subject}", {}, actor=CUSTOMER)
        return session

    def _begin(self, account_id: str, step: Callable[[Call | None], tuple[Call, str]], actor: str) -> Call:
        """Start or take a check; `step` returns the replacement of the account's open check."""

        def stepped(latest: Latest) -> tuple[Latest | None, tuple[Call, str]]:
            call = latest[1]
            current = call if call and call.open(self.clock.now_ms()) else None
            after, what = step(current)
            if after == current:
                return None, (after, "")
            return (latest[0], after), (after, what)

        def store(before: Latest, after: Latest) -> bool:
            previous, call = before
            if after[1] is None:
                return False
            if call and call.call_id == after[1].call_id:
                return self.calls.change(call, after[1])
            return self.calls.start(after[1], previous)

        call, what = update(lambda: self._latest(account_id), stepped, store, "the account's call check")
        if what:
            self._note(what, call, actor)
        return call

    def _latest(self, account_id: str) -> Latest:
        previous = self.calls.latest(account_id)
        return previous, self.calls.get(previous)

    def _new(self, account_id: str, direction: Direction, representative: str) -> Call:
        """Return a new check, not stored yet.

        Raises:
            BusyError: There were too many of this account.
        """
        now = self.clock.now_ms()
        if not self.limiter.allows(PER_ACCOUNT, account_id, now):
            raise BusyError("too many call checks of this account", remedy="try again in an hour")
        random = base64.b32encode(self.entropy(15)).decode().lower()
        return Call(
            call_id=f"{shard_of(account_id):x}{random}",
            account_id=account_id,
            direction=direction,
            representative=representative,
            key=self.keys.current,
            started_at=now,
            expires_at=now + state_machine.LIFETIME,
        )

    def _step(self, call_id: str, step: Callable[[Call, int], Call], actor: str) -> Call | None:
        """Apply a transition of the state machine; return the resulting check, or None if there is none."""

        def stepped(before: Call | None) -> tuple[Call | None, tuple[Call | None, bool]]:
            after = step(before, self.clock.now_ms()) if before else None
            return after, (after, after != before)

        def store(before: Call | None, after: Call | None) -> bool:
            return before is not None and after is not None and self.calls.change(before, after)

        call, changed = update(lambda: self.calls.get(call_id), stepped, store, "the call check")
        if call and changed:
            self._note("wrong" if call.settled_at is None and call.attempts else call.status, call, actor)
        return call

    def _note(self, what: str, call: Call, actor: str) -> None:
        details = {"account": call.account_id, "direction": call.direction, "attempts": str(call.attempts)}
        self.audit.record(f"call.{what}", f"call:{call.call_id}", details, actor=actor)
