"""The door of call checks: start, take, hear, dispute, judge, cancel, expire; and the links to customers' pages."""

import base64
from collections.abc import Callable
from dataclasses import dataclass

from alerts.audit import Audit
from alerts.mfa.calls import engine
from alerts.mfa.calls.engine import Call, CustomerView, DeskView
from alerts.mfa.calls.store import CallStore
from alerts.mfa.codes import new_token
from alerts.mfa.keyring import Entropy, Keyring
from alerts.mfa.limits import Limit, Limiter
from alerts.mfa.records import Account, shard_of
from alerts.mfa.store import Store
from vedette.clock import HOUR, MINUTE, Clock
from vedette.errors import InputError, UnavailableError
from vedette.events import Direction

PER_ACCOUNT = Limit("calls", 20, HOUR)
"""Checks of one account: at 3 guesses each the odds of one hit in an hour stay below 1 in a million."""

SendLink = Callable[[Account, str, str], bool]
"""Sends a token's link to an account's phone, under a name for the message; whether it may have gone."""

LINK_LIFETIME = 10 * MINUTE
CUSTOMER = "customer"

_CONFLICTS = 100
_AT_ONCE = 100


class BusyError(InputError):
    """The account's check belongs to another representative, or there were too many of them."""


@dataclass(frozen=True, slots=True)
class Checks:
    """Call checks, as both screens and the API use them.

    Args:
        calls: Where they are.
        store: Where links are remembered, and phones are known.
        limiter: Counts the checks of an account.
        keys: The keyring.
        clock: Tells the time.
        entropy: Gives unpredictable bytes.
        audit: Is told of every step.
        send: Sends a link by SMS.
    """

    calls: CallStore
    store: Store
    limiter: Limiter
    keys: Keyring
    clock: Clock
    entropy: Entropy
    audit: Audit
    send: SendLink

    def start(self, account_id: str, representative: str) -> Call:
        """A representative begins: takes the check that the customer has started, or starts one.

        Raises:
            BusyError: Another representative has an open check of this account, or there were too many.
        """
        for _ in range(_CONFLICTS):
            current = self._current(account_id)
            if current is None:
                if call := self._start(account_id, "bank", representative):
                    return call
            elif current.representative == representative:
                return current
            elif current.representative:
                raise BusyError("another representative is checking a call with this customer", remedy="ask them")
            elif self.calls.change(current, taken := engine.take(current, representative, self.clock.now_ms())):
                self._note("taken", taken, representative)
                return taken
        raise _contended(account_id)

    def start_by_customer(self, account_id: str) -> Call:
        """A customer who has called the bank begins; an open check is gone on with.

        Raises:
            BusyError: There were too many.
        """
        for _ in range(_CONFLICTS):
            if current := self._current(account_id):
                return current
            if call := self._start(account_id, "customer", ""):
                return call
        raise _contended(account_id)

    def get(self, call_id: str) -> Call | None:
        """A check, or None where there is none."""
        return self.calls.get(call_id)

    def of_account(self, account_id: str) -> Call | None:
        """The account's latest check, open or not."""
        return self.calls.get(self.calls.latest(account_id))

    def desk_view(self, call: Call, representative: str) -> DeskView:
        """The check as a representative sees it."""
        return engine.desk_view(call, representative, self.keys, self.clock.now_ms())

    def customer_view(self, call: Call) -> CustomerView:
        """The check as its customer sees it."""
        return engine.customer_view(call, self.keys, self.clock.now_ms())

    def hear(self, call_id: str) -> Call | None:
        """The customer has heard code A."""
        return self._step(call_id, engine.hear, CUSTOMER)

    def dispute(self, call_id: str) -> Call | None:
        """The customer heard something else."""
        return self._step(call_id, engine.dispute, CUSTOMER)

    def cancel(self, call_id: str, representative: str) -> Call | None:
        """The representative ends it."""
        return self._step(call_id, lambda call, now: engine.cancel(call, representative, now), representative)

    def judge(self, call_id: str, representative: str, text: str) -> Call | None:
        """The representative types in what the customer reads out."""
        return self._step(
            call_id, lambda call, now: engine.judge(call, representative, text, self.keys, now), representative
        )

    def sweep(self) -> int:
        """Expire checks whose time is over; how many."""
        expired = 0
        for call_id in self.calls.due("open", self.clock.now_ms(), _AT_ONCE):
            if self._step(call_id, engine.expire, "") is None:  # forgotten by Redis before anybody swept
                self.calls.forget("open", [call_id])
            expired += 1
        return expired

    def new_link(self, account_id: str) -> str:
        """A token for a link to the customer's page, good once and for ten minutes."""
        token = new_token(self.entropy)
        self.store.remember("call", self.keys.hash("call link", token), account_id, LINK_LIFETIME)
        self.audit.record("call.link_made", f"account:{account_id}", {})
        return token

    def invite(self, call: Call) -> bool:
        """Send the customer a link to their page by SMS; False if the check is over, or they cannot get one now."""
        account = self.store.account(call.account_id)
        if not call.open(self.clock.now_ms()) or not account.phone:
            return False
        token = self.new_link(account.account_id)
        sent = self.send(account, token, f"{call.call_id}/{self.clock.now_ms()}")
        self._note("invited" if sent else "not_invited", call, call.representative)
        return sent

    def follow(self, token: str) -> str | None:
        """Use up a link: the account it is for, or None if it is none, or used, or too old."""
        for name in self.keys.fingerprints("call link", token):
            if account_id := self.store.drop("call", name):
                self.audit.record("call.link_followed", f"account:{account_id}", {}, actor=CUSTOMER)
                return account_id
        return None

    def _current(self, account_id: str) -> Call | None:
        """The account's open check."""
        call = self.of_account(account_id)
        return call if call and call.open(self.clock.now_ms()) else None

    def _start(self, account_id: str, direction: Direction, representative: str) -> Call | None:
        """A new check; None if another has been started meanwhile."""
        now = self.clock.now_ms()
        previous = self.calls.latest(account_id)
        before = self.calls.get(previous)
        if before and before.open(now):
            return None
        if not self.limiter.allows(PER_ACCOUNT, account_id, now):
            raise BusyError("too many call checks of this account", remedy="try again in an hour")
        random = base64.b32encode(self.entropy(15)).decode().lower()
        call = Call(
            call_id=f"{shard_of(account_id):x}{random}",
            account_id=account_id,
            direction=direction,
            representative=representative,
            key=self.keys.current,
            started_at=now,
            expires_at=now + engine.LIFETIME,
        )
        if not self.calls.start(call, previous):
            return None
        self._note("started", call, representative or CUSTOMER)
        return call

    def _step(self, call_id: str, step: Callable[[Call, int], Call], actor: str) -> Call | None:
        """Take a step of the engine; the check as it is then, or None where there is none."""
        for _ in range(_CONFLICTS):
            before = self.calls.get(call_id)
            if before is None:
                return None
            after = step(before, self.clock.now_ms())
            if after is before:
                return before
            if self.calls.change(before, after):
                self._note("wrong" if after.settled_at is None and after.attempts else after.status, after, actor)
                return after
        raise _contended(call_id)

    def _note(self, what: str, call: Call, actor: str) -> None:
        details = {"account": call.account_id, "direction": call.direction, "attempts": str(call.attempts)}
        self.audit.record(f"call.{what}", f"call:{call.call_id}", details, actor=actor)


def _contended(what: str) -> UnavailableError:
    return UnavailableError(f"the call check of {what} changes too fast to take a step")
