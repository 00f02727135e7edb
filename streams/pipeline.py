"""The stages of a batch in the worker, independent of Faust.

A batch holds messages of one topic, of one or more of its partitions. `compute` decodes them, applies the events to the
states in memory, scores them and sends the decisions; `settle` waits until the broker has these and finds out which
stand; `send` sends the rest; `confirm` waits until the broker has everything; `commit` writes state and watermark of
each partition in one atomic step. Batches are computed one after the other in order of arrival, and committed in that
order; waiting batches are committed together. After a crash at any point the worker restarts from the watermark:
decisions that are already there are taken over, and no event counts twice.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from decisions.encoding import utf8_texts
from decisions.policy_form import ACTIONS
from decisions.rollout import StrategyProvider
from features.activity import Records, of_labels, of_payments, payment_flags, unusualness
from features.catalogue import LABEL_DELAY
from features.columns import from_batch
from features.engine import advance_accounts, advance_entities, stateless_features
from features.identity import OPEN, Identity
from features.kernel_account import LATE, UNMATCHED
from features.store import StateStore
from streams.activity import columns_of_labels, read_activity_records
from streams.arrow import activity_by_partition, write_within
from streams.batch import (
    BatchCounts,
    Computed,
    DecidedBatch,
    Received,
    SentBatch,
    StageClock,
    commit_step,
    updates_of,
)
from streams.decide import StatesRead, decide_payments, outgoing_decisions
from streams.decode import Record, decode_labels, decode_transactions
from streams.join import joined_batches
from streams.own_decisions import DecisionReader
from streams.partition import Cache, Partition, acquire_partition
from streams.payments import feature_log
from streams.placement import PlacementCheck
from streams.publish import Delivery, OutgoingDecision, OutgoingMessages, ResultPublisher
from streams.state_keys import KeySpace, rows_of
from streams.takeover import find_standing, payments_in, with_standing
from vedette import keys
from vedette.card_numbers import REFUSE, CardNumbers
from vedette.errors import FencedError, UnavailableError
from vedette.events import Label
from vedette.topics import Name


class Pipeline:
    """The stages of a batch, and the partitions that this worker owns.

    Args:
        store: Store of the states.
        decisions: Reads the decisions that are already there.
        publisher: Publisher of the results.
        strategies: The models and the policy in force.
        partitions: Number of partitions of the topics; determines the owner of an account, merchant, device or address.
        prefix: Prefix of the store's keys.
        cache_accounts: Number of states of accounts, merchants, devices and addresses held in memory.
        max_future_ms: See decode_transactions.
        label_delay: Time from a payment until its label takes effect, milliseconds.
        identity: The key of the hashes of identifiers.
        cards: What happens to identifiers that are card numbers.
    """

    def __init__(
        self, *, store: StateStore, decisions: DecisionReader, publisher: ResultPublisher,
        strategies: StrategyProvider, partitions: int, prefix: str, cache_accounts: int, max_future_ms: float,
        label_delay: int = LABEL_DELAY, identity: Identity = OPEN, cards: CardNumbers = REFUSE,
    ) -> None:  # fmt: skip
        self._store = store
        self._decisions = decisions
        self._publisher = publisher
        self._strategies = strategies
        self._partitions = partitions
        self._placement = PlacementCheck(partitions)
        self._keys = KeySpace(prefix, partitions, identity)
        self._identity, self._cards = identity, cards
        self._cache = Cache(cache_accounts)
        self._max_future_ms = max_future_ms
        self._label_delay = label_delay
        self.owned: dict[int, Partition] = {}

    def assign(self, numbers: set[int]) -> dict[int, Partition]:
        """Own exactly these partitions, each with a new epoch; reading starts from their watermarks."""
        self._cache.clear()
        fingerprint = self._identity.fingerprint
        self.owned = {
            number: acquire_partition(self._store, number, self._decisions, fingerprint) for number in sorted(numbers)
        }
        return self.owned

    def compute(self, topic: str, messages: Mapping[int, Sequence[Record]]) -> Computed | None:
        """Decode a batch, apply it to state, score it, and send the decisions.

        Args:
            topic: Topic of the messages, without prefix.
            messages: Messages by partition, in order of their offsets.

        Returns:
            The computed batch, or None if everything had already been applied.
        """
        received = self._received(Name(topic), messages)
        if not received.records:
            return None
        if received.topic == Name.TRANSACTIONS:
            computed = self._transactions(received)
        elif received.topic == Name.LABELS:
            computed = self._labels(received)
        else:
            computed = self._activity(received)
        for update in computed.updates:
            update.partition.meta |= update.watermarks
        return computed

    def settle(self, batches: Sequence[Computed]) -> None:
        """Wait until the broker has the decisions of batches, and find out which of them stand.

        Only then do alerts, feature log and activity leave, so whoever reads these finds the decision that they belong
        to. A decision of another worker that came first is found by the gap that it leaves between this worker's own.

        Raises:
            DeliveryError: The broker does not have everything; the call can be repeated.
            RefusedError: The broker permanently refuses a message.
            UnavailableError: The broker does not say what is in a gap; the call can be repeated.
        """
        clock = StageClock(batches[0].stages)
        self._publisher.wait(*(batch.delivery for batch in batches))
        for batch in batches:
            if batch.decided is not None:
                find_standing(batch.decided, batch.delivery.decided, self._decisions)
        clock.lap("publish")

    def send(self, batches: Sequence[Computed]) -> list[SentBatch]:
        """Hand alerts, feature log and activity of batches to the producer, without waiting for the broker."""
        clock = StageClock(batches[0].stages)
        decided = [with_standing(batch.decided) for batch in batches if batch.decided]
        logged = tuple(self._publisher.send(self._log(batch)) for batch in joined_batches(decided))
        clock.lap("encode")
        first, *others = batches
        return [SentBatch(first, (first.delivery, *logged)), *(SentBatch(each, (each.delivery,)) for each in others)]

    def confirm(self, batches: Sequence[SentBatch]) -> None:
        """Wait until the broker has everything of these batches; called again, it sends only what is missing.

        Raises:
            DeliveryError: The broker does not have everything.
            RefusedError: The broker permanently refuses a message.
        """
        clock = StageClock(batches[0].computed.stages)
        self._publisher.wait(*(delivery for batch in batches for delivery in batch.deliveries))
        clock.lap("publish")

    def commit(self, batches: Sequence[SentBatch], partition: Partition) -> None:
        """Write state and watermarks of one of the batches' partitions in one atomic step.

        Raises:
            FencedError: Another worker owns it now.
        """
        if refusal := self.commit_all(batches, [partition]).get(partition.number):
            raise refusal

    def commit_all(self, batches: Sequence[SentBatch], partitions: Sequence[Partition]) -> dict[int, FencedError]:
        """Write state and watermarks of some of the batches' partitions, in one atomic step for each partition.

        Returns:
            By number, why a partition was not written: another worker owns it now.
        """
        clock = StageClock(batches[0].computed.stages)
        steps = [commit_step(batches, partition) for partition in partitions]
        refusals = self._store.commit_all(steps)
        lost = {}
        for partition, step, refusal in zip(partitions, steps, refusals, strict=True):
            if refusal:
                lost[partition.number] = refusal
            else:
                partition.written |= step.meta
        clock.lap("commit")
        return lost

    @property
    def patience_s(self) -> float:
        """Seconds that payments wait for the store under the policy in force."""
        return self._strategies.rollout.champion.policy.patience_s

    def decide_without_history(self, records: Sequence[Record]) -> tuple[int, Delivery]:
        """Decide payments without their history, and send the decisions, marked as degraded.

        Nothing is applied: once the store is back, the same payments are computed and decided as if they were new.

        Returns:
            The number of decisions, and their delivery, to be waited for.
        """
        decoded, _ = decode_transactions(records, self._max_future_ms, self._cards)
        features = stateless_features(from_batch(decoded.batch))
        rollout, batch, extra = self._strategies.rollout, decoded.batch, decoded.extra
        scored, unscored = rollout.split(batch, None)
        if len(unscored):
            batch, features, extra = batch.take(pa.array(scored)), features[scored], [extra[row] for row in scored]
        decided = rollout.decide(batch, features, extra, degraded=True)
        messages = rollout.with_unscored(decided.messages, decoded.batch, unscored, degraded=True)
        accounts, partition = utf8_texts(decoded.batch.column("account_id")), _partitions(decoded.records).tolist()
        made = list(map(OutgoingDecision, accounts, messages, partition))
        outgoing = OutgoingMessages(Name.TRANSACTIONS, decisions=made, alerts=decided.alerts)
        return len(made), self._publisher.send(outgoing)

    def wait(self, delivery: Delivery) -> None:
        """Wait for degraded decisions; see ResultPublisher.wait."""
        self._publisher.wait(delivery)

    def can_write(self) -> bool:
        """Return whether the store takes state of every partition that is owned."""
        try:
            for number in self.owned:
                self._store.probe(number)
        except UnavailableError:
            return False
        return True

    def _received(self, topic: Name, messages: Mapping[int, Sequence[Record]]) -> Received:
        """Return the messages that have not been applied yet."""
        received = Received(topic, [], [], [])
        for number, records in sorted(messages.items()):
            partition = self.owned[number]
            start = partition.position(topic) or 0
            repeated = records and records[0].offset < start
            new = [record for record in records if record.offset >= start] if repeated else records
            if new:
                received.partitions.append(partition)
                received.positions.append(new[-1].offset + 1)
                received.records.extend(new)
        return received

    def _transactions(self, received: Received) -> Computed:
        stages: dict[str, float] = {}
        clock = StageClock(stages)
        decoded, rejects = decode_transactions(received.records, self._max_future_ms, self._cards)
        clock.lap("decode")
        columns = from_batch(decoded.batch, self._identity)
        accounts = decoded.batch.column("account_id")
        partition = _partitions(decoded.records)
        misplaced = self._placement.count(received.topic, decoded.records, accounts, partition)
        account_keys = self._keys.accounts(received.partitions, partition, accounts)
        entity_slot, entity_owned = self._keys.touched(columns, self.owned)
        clock.lap("columns")
        blobs = self._cache.fetch([*account_keys.names, *entity_owned], self._store.load)
        clock.lap("load")
        account_blobs, entity_blobs = blobs[: len(account_keys.names)], blobs[len(account_keys.names) :]
        rollout = self._strategies.rollout  # read once: a change meanwhile applies to the next batch
        states_read = StatesRead(account_blobs, account_keys.slot, entity_blobs, entity_slot)
        tails = {part.number: part.tail for part in received.partitions if part.tail}
        made = decide_payments(decoded, columns, partition, states_read, rollout, clock, self._label_delay, tails)
        advanced, payments, decided = made.advanced, made.payments, made.decided
        self._strategies.observe(decided)
        outgoing = OutgoingMessages(received.topic, decisions=outgoing_decisions(made), rejects=rejects)
        decided_to = [{keys.position(Name.DECISIONS): part.decided_from} for part in received.partitions]
        delivery = self._publisher.send(outgoing)
        clock.lap("send")
        for part in received.partitions:
            part.taken_over(payments_in(payments.batch) if part.tail else (), made.standing)

        states = account_keys.by_partition(advanced.blobs)
        read = zip(entity_owned.items(), entity_blobs, strict=True)
        self._cache.put({name: blob or b"" for (name, is_owned), blob in read if is_owned}, *states)
        newest = [int(columns.time[rows].max(initial=0)) for rows in rows_of(received.partitions, partition)]
        times = [
            {keys.TIME: max(part.meta.get(keys.TIME, 0), time)} | to
            for part, time, to in zip(received.partitions, newest, decided_to, strict=True)
        ]
        owned = {part.number: part for part in received.partitions}
        return Computed(
            topic=received.topic,
            received=len(received.records),
            updates=updates_of(received, states, times),
            delivery=delivery,
            decided=DecidedBatch(
                rollout, decided, payments, made.scored, made.scored_rows, owned, frozenset(made.standing)
            )
            if len(payments.batch)
            else None,
            counts=BatchCounts(
                actions=np.bincount(decided.action, minlength=len(ACTIONS)),
                unscored=made.unscored,
                unmatched=int(np.count_nonzero(advanced.status == UNMATCHED)),
                alerts=len(decided.alerts),
                rejects=len(rejects),
                duplicates=made.duplicates,
                late=int(np.count_nonzero(advanced.status == LATE)),
                misplaced=misplaced,
                shadow_rules=decided.shadow_rules,
                produced_at=payments.produced_at,
            ),
            stages=stages,
        )

    def _log(self, batch: DecidedBatch) -> OutgoingMessages:
        """Return alerts and feature log of the scored transactions, and the activity in the payments."""
        payments, scored, limit = batch.payments, batch.scored, self._publisher.limit(Name.FEATURES)
        flagged = np.zeros(len(payments.batch), np.bool_)
        flagged[batch.scored_rows] = batch.decided.action > 0
        flags = payment_flags(payments.features, payments.new, flagged)
        activity = of_payments(payments.columns, unusualness(payments.features), flags, payments.pays)
        logged = feature_log(batch.rollout, batch.decided, scored) if len(scored.batch) else None
        return OutgoingMessages(
            Name.TRANSACTIONS,
            alerts=batch.decided.alerts,
            features=write_within(logged, limit) if logged is not None else [],
            features_partition=min(batch.partitions),
            activity=self._messages(activity, payments.partition, payments.offset, Name.TRANSACTIONS),
        )

    def _labels(self, received: Received) -> Computed:
        labels, records, rejects = decode_labels(received.records, self._cards)
        partition = _partitions(records)
        accounts = _texts(labels, "account_id")
        misplaced = self._placement.count(received.topic, records, accounts, partition)
        account_keys = self._keys.accounts(received.partitions, partition, accounts)
        columns, fraud = columns_of_labels(labels, self._identity)
        blobs = self._cache.fetch(account_keys.names, self._store.load)
        advanced = advance_accounts(blobs, account_keys.slot, columns, fraud, delay=self._label_delay, live=False)
        states = account_keys.by_partition(advanced.blobs)
        self._cache.put(*states)
        offset = _offsets(records)
        activity = self._messages(of_labels(columns, fraud), partition, offset, received.topic)
        outgoing = OutgoingMessages(received.topic, rejects=rejects, activity=activity)
        return Computed(
            topic=received.topic,
            received=len(received.records),
            updates=updates_of(received, states),
            delivery=self._publisher.send(outgoing),
            decided=None,
            counts=BatchCounts(rejects=len(rejects), misplaced=misplaced),
            stages={},
        )

    def _activity(self, received: Received) -> Computed:
        """Apply activity to the entities of each partition, each source message once."""
        read = read_activity_records(received, self._partitions, self._identity.fingerprint)
        states: list[dict[str, bytes]] = [{} for _ in received.partitions]
        if read.activity is not None:
            entity_keys = self._keys.entities(received.partitions, read.partition, read.activity.entity)
            blobs = self._cache.fetch(entity_keys.names, self._store.load)
            states = entity_keys.by_partition(
                advance_entities(blobs, entity_keys.slot, read.activity, delay=self._label_delay)
            )
            self._cache.put(*states)
        return Computed(
            topic=received.topic,
            received=len(received.records),
            updates=updates_of(received, states, read.watermarks),
            delivery=self._publisher.send(OutgoingMessages(received.topic, rejects=read.rejects)),
            decided=None,
            counts=BatchCounts(
                rejects=len(read.rejects),
                activity_at=np.array([record.timestamp for record in received.records], np.int64),
            ),
            stages={},
        )

    def _messages(
        self, records: Records, partition: NDArray[np.int32], offset: NDArray[np.int64], topic: Name
    ) -> dict[int, list[bytes]]:
        """Return activity as messages for the partitions that own its entities."""
        limit = self._publisher.limit(Name.ACTIVITY)
        return activity_by_partition(
            records.activity,
            partition[records.row],
            offset[records.row],
            self._partitions,
            topic,
            limit,
            self._identity.fingerprint,
        )


def _texts(labels: Sequence[Label], name: str) -> pa.Array:
    return pa.array([getattr(label, name) for label in labels], pa.string())


def _partitions(records: Sequence[Record]) -> NDArray[np.int32]:
    return np.array([record.partition for record in records], np.int32)


def _offsets(records: Sequence[Record]) -> NDArray[np.int64]:
    return np.array([record.offset for record in records], np.int64)
