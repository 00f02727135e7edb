"""What lies between arrays and the compiled kernels."""

import numpy as np

from features import kernel_account, kernel_entity
from features.activity import of_payments, payment_flags, unusualness
from features.catalogue import NAMES
from features.columns import from_batch
from features.engine import advance_accounts, advance_entities, query_entities
from tests.features.oracle import Payment
from tests.features.streams import START, batch_of


def test_no_kernel_is_compiled_twice() -> None:
    """Whether arrays are writable, and their memory layout, makes no worker compile while payments wait."""
    plain = from_batch(batch_of([Payment(f"t{i}", "a", START + i, 100, balance=5, device_id="d") for i in range(4)]))
    kernels = kernel_account.advance_accounts, kernel_entity.advance_entities, kernel_entity.query_entities
    for columns in (plain, plain.rows(np.arange(4)), plain.rows(slice(None, None, 2))):
        slot = np.zeros(len(columns), np.int64)
        advanced = advance_accounts([None], slot, columns)
        flags = payment_flags(advanced.features, advanced.new)
        records = of_payments(columns, unusualness(advanced.features), flags)
        blobs = advance_entities([None] * 5, records.kind.astype(np.int64), records.activity)
        slots = np.where(np.column_stack([columns.entities, columns.recipient]) == 0, -1, np.arange(5))
        for given in (slots, np.asfortranarray(slots)):
            query_entities(blobs, given, columns, np.empty((len(columns), len(NAMES))))
    assert [len(kernel.signatures) for kernel in kernels] == [1, 1, 1]
