"""The service's door: issue, answer, deny, tell again, expire; each takes a step of the engine and stores it."""

from collections.abc import Callable
from dataclasses import dataclass

from alerts.mfa import engine
from alerts.mfa.engine import Answer, Result, Rules, Secrets, State
from alerts.mfa.keyring import Entropy, Keyring
from alerts.mfa.ports import Audit
from alerts.mfa.records import Binding, Factor, Record, Told, challenge_id_of
from alerts.mfa.store import Stage, Store
from vedette.clock import DAY, Clock
from vedette.errors import InputError, UnavailableError

_CONFLICTS = 1000
_AT_ONCE = 500


class ChangedError(InputError):
    """A challenge was asked for again with another amount, currency or payee: it is void."""


class UnknownError(InputError):
    """There is no such challenge."""


@dataclass(frozen=True, slots=True)
class Challenges:
    """Challenges, as pages, API and topics use them.

    Args:
        store: Where they are.
        keys: The keyring.
        rules: The institution's choices.
        clock: Tells the time.
        entropy: Gives unpredictable bytes.
        audit: Is told of every wrong answer and every link; issue and outcome are recorded when they are published.
    """

    store: Store
    keys: Keyring
    rules: Rules
    clock: Clock
    entropy: Entropy
    audit: Audit

    def issue(self, binding: Binding, decision: str = "") -> Record:
        """The challenge about a payment; asked for again, it is the same.

        Args:
            binding: The payment.
            decision: The decision that asks for it, as JSON, to be followed by a final one.

        Raises:
            ChangedError: There is one about this transaction with another amount, currency or payee. It is now void.
        """
        identifier = challenge_id_of(binding.account_id, binding.transaction_id)
        for _ in range(_CONFLICTS):
            now = self.clock.now_ms()
            known, account = self.store.look(identifier, binding.account_id)
            if known:
                return self._again(State(known, account), binding, now)
            record = engine.new_record(binding, account, decision=decision, rules=self.rules, keys=self.keys, now=now)
            tell_at = now if record.told == "pending" else None
            stage: Stage = "issued" if record.status == "issued" else "settled"
            if self.store.replace(None, State(record, account), tell_at=tell_at, stage=stage, at=now):
                return record
        raise _contended(identifier)

    def _again(self, before: State, binding: Binding, now: int) -> Record:
        record = before.record
        if record.binding == binding and engine.untouched(record, self.keys):
            return record
        while record.status == "issued":
            voided = engine.settle(record, "blocked", self.rules, now, cause="changed")
            if self.store.replace(before, State(voided, before.account), stage="settled", at=now):
                break
            before = self._state(record.challenge_id)
            record = before.record
        raise ChangedError(
            f"the challenge of transaction {binding.transaction_id} was about another amount, currency or payee",
            remedy="it is void; ask about the changed payment under a transaction id of its own",
        )

    def find(self, binding: Binding) -> State | None:
        """The challenge about a transaction, if there is one."""
        return self.get(challenge_id_of(binding.account_id, binding.transaction_id))

    def get(self, challenge_id: str) -> State | None:
        """A challenge and its account; None where there is none."""
        return self.store.state(challenge_id)

    def shown(self, challenge_id: str, binding: Binding) -> str:
        """The seal of what a customer is shown, to come back with the answer."""
        return self.keys.hash("seal", *engine.seal_parts(challenge_id, binding))

    def answer(self, challenge_id: str, answer: Answer) -> tuple[Result, Record]:
        """Judge an answer; see engine.attempt.

        Raises:
            UnknownError: There is no such challenge.
        """
        return self._step(
            challenge_id, lambda state, now: engine.attempt(state, answer, rules=self.rules, keys=self.keys, now=now)
        )

    def deny(self, challenge_id: str) -> tuple[Result, Record]:
        """The customer says: this was not me.

        Raises:
            UnknownError: There is no such challenge.
        """
        return self._step(challenge_id, lambda state, now: engine.deny(state, rules=self.rules, now=now))

    def sweep(self) -> int:
        """Expire challenges whose time is over; how many."""
        expired = 0
        for challenge_id in self.store.due("open", self.clock.now_ms(), _AT_ONCE):
            if self.store.state(challenge_id) is None:  # forgotten by Redis before anybody swept
                self.store.forget("open", [challenge_id])
                continue
            result, _ = self._step(challenge_id, lambda state, now: engine.expire(state, rules=self.rules, now=now))
            expired += result == "expired"
        return expired

    def ask(self, challenge_id: str, factor: Factor) -> bool:
        """Ask for another factor, or for another SMS with a new code; False if that cannot be."""
        for _ in range(_CONFLICTS):
            state, now = self._state(challenge_id), self.clock.now_ms()
            after = engine.ask(state, factor, rules=self.rules)
            if after is None:
                return False
            if self.store.replace(state, after, tell_at=now if after.record.told == "pending" else "keep"):
                self.audit.record("challenge.asked", challenge_id, {"factor": factor})
                return True
        raise _contended(challenge_id)

    def begin_telling(self, challenge_id: str, retry_at: int) -> tuple[State, Secrets] | None:
        """Claim the telling of a customer until `retry_at`; None if another has it, or nobody is to be told.

        The new code and link are in force when this returns, whether or not they ever reach the customer.
        """
        state = self.store.state(challenge_id)
        if state is None or state.record.status != "issued" or state.record.told not in ("pending", "sending"):
            return None
        after, secrets = engine.begin_telling(state, keys=self.keys, entropy=self.entropy)
        if not self.store.replace(state, after, tell_at=retry_at):
            return None
        self._remember_link(after.record, secrets.token)
        return after, secrets

    def end_telling(self, told_about: Record, told: Told, retry_at: int | None = None) -> None:
        """Write down what became of the telling, unless the challenge is settled or told again by now."""
        for _ in range(_CONFLICTS):
            state = self._state(told_about.challenge_id)
            record = state.record
            if record.status != "issued" or (record.told, record.sends) != ("sending", told_about.sends):
                return
            if self.store.replace(state, State(engine.replace(record, told=told), state.account), tell_at=retry_at):
                return
        raise _contended(told_about.challenge_id)

    def new_link(self, challenge_id: str) -> str | None:
        """A token for a link to the challenge's page; the one before is void. None once it is settled."""
        for _ in range(_CONFLICTS):
            state = self._state(challenge_id)
            made = engine.new_link(state, keys=self.keys, entropy=self.entropy)
            if made is None:
                return None
            after, token = made
            if self.store.replace(state, after, tell_at="keep"):
                self._remember_link(after.record, token)
                self.audit.record("link.made", challenge_id, {})
                return token
        raise _contended(challenge_id)

    def follow(self, token: str) -> str | None:
        """Use up a link: the id of its challenge, or None if the link is none, or used, or void, or too late."""
        for fingerprint in self.keys.fingerprints("link", token):
            if (challenge_id := self.store.recall("l", fingerprint)) is not None:
                return self._use_up(challenge_id, token)
        return None

    def _use_up(self, challenge_id: str, token: str) -> str | None:
        # A fast customer is here before the messenger has written down that the message went.
        for _ in range(_CONFLICTS):
            state = self.store.state(challenge_id)
            after = engine.follow(state, token, keys=self.keys, now=self.clock.now_ms()) if state else None
            if state is None or after is None:
                return None
            if self.store.replace(state, after, tell_at="keep"):
                self.audit.record("link.followed", challenge_id, {})
                return challenge_id
        raise _contended(challenge_id)

    def _remember_link(self, record: Record, token: str) -> None:
        self.store.remember("l", self.keys.hash("link", token), record.challenge_id, DAY)

    def _step(self, challenge_id: str, step: Callable[[State, int], tuple[Result, State]]) -> tuple[Result, Record]:
        for _ in range(_CONFLICTS):
            before, now = self._state(challenge_id), self.clock.now_ms()
            result, after = step(before, now)
            if after is before:
                return result, before.record
            open_still = after.record.status == "issued"
            stored = self.store.replace(
                before,
                after,
                tell_at="keep" if open_still else None,
                stage="" if open_still else "settled",
                at=now,
            )
            if stored:
                if result == "wrong":
                    attempts = str(after.record.attempts)
                    self.audit.record("challenge.wrong", challenge_id, {"attempts": attempts})
                return result, after.record
        raise _contended(challenge_id)

    def _state(self, challenge_id: str) -> State:
        state = self.store.state(challenge_id)
        if state is None:
            raise UnknownError("there is no such challenge")
        return state


def _contended(challenge_id: str) -> UnavailableError:
    return UnavailableError(f"challenge {challenge_id} changes too fast to take a step")
