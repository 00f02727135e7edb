"""Challenges: issue, answer, deny, notify, expire. Each operation stores a transition of the state machine."""

from collections.abc import Callable
from dataclasses import dataclass

from access.keyring import Entropy, Keyring
from access.ports import CUSTOMER, AuditSink
from challenges import state_machine
from challenges.compare_and_set import ResultT, update
from challenges.records import Account, Binding, ChallengeRecord, Factor, NotificationStatus
from challenges.state_machine import ChallengeAnswer, Result, Rules, Secrets, State, replace
from challenges.store import ChallengeStore, NotifyAt, PublicationStage
from vedette.challenge_ids import challenge_id_of
from vedette.clock import DAY, Clock
from vedette.errors import InputError

_BATCH = 500

Step = Callable[[State], tuple[State | None, ResultT]]
Found = tuple[ChallengeRecord | None, Account]
"""A challenge, if any, and its account."""


class ChangedError(InputError):
    """A challenge was requested again with another amount, currency or payee: it is void."""


class UnknownError(InputError):
    """There is no such challenge."""


@dataclass(frozen=True, slots=True)
class Challenges:
    """Challenges, for pages, API and topics.

    Args:
        store: Store of the challenges.
        keys: The keyring.
        rules: Rules of the institution.
        clock: The clock.
        entropy: Source of unpredictable bytes.
        audit: Records every wrong answer and every link at once; issue and outcome when they are published.
    """

    store: ChallengeStore
    keys: Keyring
    rules: Rules
    clock: Clock
    entropy: Entropy
    audit: AuditSink

    def issue(self, binding: Binding, decision: str = "", *, actor: str = "") -> ChallengeRecord:
        """Return the challenge of a payment; a repeated request returns the same one.

        Args:
            binding: The payment.
            decision: The decision that requests it, as JSON, to be followed by a final one.
            actor: The credential that requests it; empty for a decision.

        Raises:
            ChangedError: There is one about this transaction with another amount, currency or payee. It is now void.
        """
        identifier, now = challenge_id_of(binding.account_id, binding.transaction_id), self.clock.now_ms()

        def step(found: Found) -> tuple[Found | None, ChallengeRecord]:
            record, account = found
            if record is None:
                made = state_machine.new_record(
                    binding, account, decision=decision, rules=self.rules, keys=self.keys, now=now
                )
                made = replace(made, issued_by=actor)
                return (made, account), made
            if self._same(record, binding) or record.status != "issued":
                return None, record
            voided = state_machine.settle(record, "blocked", self.rules, now, cause="changed")
            voided = replace(voided, settled_by=actor)
            return (voided, account), voided

        def store(before: Found, after: Found) -> bool:
            record, account = after
            known = State(before[0], before[1]) if before[0] else None
            open_still = record is not None and record.status == "issued"
            notify_at = now if open_still and record and record.notification == "pending" else None
            stage: PublicationStage = "issued" if open_still else "settled"
            return record is not None and self.store.replace(
                known, State(record, account), notify_at=notify_at, stage=stage, at=now
            )

        record = update(lambda: self.store.look(identifier, binding.account_id), step, store, f"challenge {identifier}")
        if not self._same(record, binding):
            raise ChangedError(
                f"the challenge of transaction {binding.transaction_id} was about another amount, currency or payee",
                remedy="it is void; request a challenge for the changed payment under a new transaction id",
            )
        return record

    def find(self, binding: Binding) -> State | None:
        """Return the challenge about a transaction, if there is one."""
        return self.get(challenge_id_of(binding.account_id, binding.transaction_id))

    def get(self, challenge_id: str) -> State | None:
        """Return a challenge and its account; None where there is none."""
        return self.store.state(challenge_id)

    def shown(self, challenge_id: str, binding: Binding) -> str:
        """Return the seal of the data shown to a customer, which is returned with the answer."""
        return self.keys.hash("seal", *state_machine.seal_parts(challenge_id, binding))

    def answer(
        self, challenge_id: str, answer: ChallengeAnswer, *, actor: str = CUSTOMER
    ) -> tuple[Result, ChallengeRecord]:
        """Verify an answer; see state_machine.attempt.

        Raises:
            UnknownError: There is no such challenge.
        """

        def step(state: State, now: int) -> tuple[Result, State]:
            return state_machine.attempt(state, answer, rules=self.rules, keys=self.keys, now=now)

        result, record = self._step(challenge_id, step, actor)
        if result == "wrong":
            self._note("challenge.wrong", challenge_id, {"attempts": str(record.attempts)}, actor)
        return result, record

    def deny(self, challenge_id: str, *, actor: str = CUSTOMER) -> tuple[Result, ChallengeRecord]:
        """Record that the customer denies the payment ("this was not me").

        Raises:
            UnknownError: There is no such challenge.
        """
        return self._step(challenge_id, lambda state, now: state_machine.deny(state, rules=self.rules, now=now), actor)

    def sweep(self) -> int:
        """Expire overdue challenges, and return their number."""
        expired = 0
        for challenge_id in self.store.due("open", self.clock.now_ms(), _BATCH):
            if self.store.state(challenge_id) is None:  # forgotten by Redis before anybody swept
                self.store.forget("open", [challenge_id])
                continue
            result, _ = self._step(
                challenge_id, lambda state, now: state_machine.expire(state, rules=self.rules, now=now), ""
            )
            expired += result == "expired"
        return expired

    def ask(self, challenge_id: str, factor: Factor, *, actor: str = CUSTOMER) -> bool:
        """Ask for another factor, or for another SMS with a new code; return False if that is not possible."""
        now = self.clock.now_ms()

        def step(state: State) -> tuple[State | None, bool]:
            after = state_machine.ask(state, factor, rules=self.rules)
            return after, after is not None

        def store(before: State, after: State) -> bool:
            notify_at: NotifyAt = now if after.record.notification == "pending" else "keep"
            return self.store.replace(before, after, notify_at=notify_at)

        asked = update(lambda: self._state(challenge_id), step, store, f"challenge {challenge_id}")
        if asked:
            self._note("challenge.asked", challenge_id, {"factor": factor}, actor)
        return asked

    def begin_notification(self, challenge_id: str, retry_at: int) -> tuple[State, Secrets] | None:
        """Reserve the notification of a customer until `retry_at`; return None if another has it, or none is due.

        The new code and link are in force when this returns, whether or not they ever reach the customer.
        """
        state = self.store.state(challenge_id)
        if state is None or not state_machine.to_be_notified(state.record):
            return None
        after, secrets = state_machine.begin_notification(state, keys=self.keys, entropy=self.entropy)
        if not self.store.replace(state, after, notify_at=retry_at):
            return None
        self._remember_link(after.record, secrets.token)
        return after, secrets

    def end_notification(self, begun: ChallengeRecord, status: NotificationStatus, retry_at: int | None = None) -> None:
        """Record the result of a notification, unless the challenge is settled or notified again meanwhile."""

        def step(state: State) -> tuple[State | None, None]:
            record = state.record
            if record.status != "issued" or (record.notification, record.sends) != ("sending", begun.sends):
                return None, None
            return State(replace(record, notification=status), state.account), None

        def store(before: State, after: State) -> bool:
            return self.store.replace(before, after, notify_at=retry_at)

        subject = f"challenge {begun.challenge_id}"
        if status == "sending":  # nothing of the record changes but when it is tried again
            self.store.postpone("notify", begun.challenge_id, retry_at or 0)
            return
        update(lambda: self._state(begun.challenge_id), step, store, subject)

    def new_link(self, challenge_id: str, *, actor: str = CUSTOMER) -> str | None:
        """Return a token for a link to the challenge's page; the one before is void. None once it is settled."""

        def step(state: State) -> tuple[State | None, tuple[State, str] | None]:
            made = state_machine.new_link(state, keys=self.keys, entropy=self.entropy)
            return (made[0] if made else None), made

        made = self._update(challenge_id, step)
        if made is None:
            return None
        after, token = made
        self._remember_link(after.record, token)
        self._note("link.made", challenge_id, {}, actor)
        return token

    def follow(self, token: str) -> State | None:
        """Consume a link: return its challenge, or None if the link is unknown, used, void, or expired."""
        for fingerprint in self.keys.fingerprints("link", token):
            if (challenge_id := self.store.recall("l", fingerprint)) is not None:
                return self._use_up(challenge_id, token)
        return None

    def _use_up(self, challenge_id: str, token: str) -> State | None:
        # A fast customer arrives before the notifier has recorded that the message was sent.
        def step(state: State) -> tuple[State | None, State | None]:
            after = state_machine.follow(state, token, keys=self.keys, now=self.clock.now_ms())
            return after, after

        try:
            after = self._update(challenge_id, step)
        except UnknownError:
            return None
        if after is not None:
            self._note("link.followed", challenge_id, {}, CUSTOMER)
        return after

    def _remember_link(self, record: ChallengeRecord, token: str) -> None:
        self.store.remember("l", self.keys.hash("link", token), record.challenge_id, DAY)

    def _same(self, record: ChallengeRecord, binding: Binding) -> bool:
        return record.binding == binding and state_machine.untouched(record, self.keys)

    def _update(self, challenge_id: str, step: Step[ResultT]) -> ResultT:
        """Apply a transition that does not settle the challenge."""

        def store(before: State, after: State) -> bool:
            return self.store.replace(before, after, notify_at="keep")

        return update(lambda: self._state(challenge_id), step, store, f"challenge {challenge_id}")

    def _step(
        self, challenge_id: str, step: Callable[[State, int], tuple[Result, State]], actor: str
    ) -> tuple[Result, ChallengeRecord]:
        """Apply a transition that may settle the challenge."""
        now = self.clock.now_ms()

        def judged(before: State) -> tuple[State | None, tuple[Result, ChallengeRecord]]:
            result, after = step(before, now)
            if after.record.status != before.record.status:
                after = State(replace(after.record, settled_by=actor), after.account)
            return after, (result, after.record)

        def store(before: State, after: State) -> bool:
            if after.record.status == "issued":
                return self.store.replace(before, after, notify_at="keep")
            return self.store.replace(before, after, stage="settled", at=now)

        return update(lambda: self._state(challenge_id), judged, store, f"challenge {challenge_id}")

    def _state(self, challenge_id: str) -> State:
        state = self.store.state(challenge_id)
        if state is None:
            raise UnknownError("there is no such challenge")
        return state

    def _note(self, event: str, challenge_id: str, details: dict[str, str], actor: str) -> None:
        self.audit.record(event, f"challenge:{challenge_id}", details, actor=actor)
