"""The decision that a payment would get now: by the worker's own functions, from the states as they are.

Nothing is published and nothing is written. The store holds what the worker has committed, so a preview knows all
payments but those of the worker's last few batches.
"""

import numpy as np

from decisions.rollout import StrategyProvider
from features.columns import from_batch
from features.hashing import partitions_of
from features.identity import Identity
from features.store import Claim, StateStore
from streams.batch import StageClock
from streams.decide import StatesRead, decide_payments
from streams.decode import RawMessage, decode_transactions
from streams.partition import Partition
from streams.state_keys import KeySpace
from vedette.card_numbers import REFUSE, CardNumbers
from vedette.clock import Clock
from vedette.errors import InputError


class Previews:
    """Decides single payments without any effect; one thread at a time.

    Args:
        store: Store of the states, of which this only reads.
        strategies: The models and the policy in force.
        partitions: Number of partitions of the topics.
        prefix: Prefix of the store's keys.
        max_future_ms: See decode_transactions.
        label_delay: Milliseconds.
        identity: The key of the hashes of identifiers.
        clock: The clock.
        cards: What happens to identifiers that are card numbers.
    """

    def __init__(
        self, store: StateStore, strategies: StrategyProvider, *, partitions: int, prefix: str, max_future_ms: float,
        label_delay: int, identity: Identity, clock: Clock, cards: CardNumbers = REFUSE,
    ) -> None:  # fmt: skip
        self._store, self._strategies, self._clock = store, strategies, clock
        self._partitions, self._max_future_ms = partitions, max_future_ms
        self._label_delay = label_delay
        self._keys = KeySpace(prefix, partitions, identity)
        self._identity, self._cards = identity, cards

    def decide(self, transaction: bytes) -> bytes | None:
        """Return the decision as JSON, or None if the payment has been decided before.

        Args:
            transaction: The payment as JSON, as it would be on the topic.

        Raises:
            InputError: It cannot be read.
            StateError: A state is corrupt.
            UnavailableError: The store does not answer.
        """
        message = RawMessage(None, transaction, 0, 0, self._clock.now_ms())
        decoded, rejects = decode_transactions([message], self._max_future_ms, self._cards)
        if rejects:
            raise InputError(rejects[0].reason)
        columns = from_batch(decoded.batch, self._identity)
        accounts = decoded.batch.column("account_id")
        partition = partitions_of(accounts, self._partitions).astype(np.int32)
        account = self._keys.accounts([Partition(int(partition[0]), Claim(0, {}))], partition, accounts)
        entity_slot, entities = self._keys.touched(columns, ())
        blobs = self._store.load([*account.names, *entities])
        states = StatesRead(blobs[:1], account.slot, blobs[1:], entity_slot)
        made = decide_payments(
            decoded, columns, partition, states, self._strategies.rollout, StageClock({}), self._label_delay
        )
        return None if made.duplicates else made.messages[0]
