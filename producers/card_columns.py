"""Card numbers in columns of identifiers and of vendor features."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from producers.parse import Bools, mask
from vedette.card_numbers import SHORTEST, CardNumbers, has_card_number, is_card_value
from vedette.errors import CardNumberError


def identifiers(name: str, column: pa.Array, cards: CardNumbers) -> tuple[pa.Array, Bools]:
    """Return identifiers without card numbers, and bool[n], which of them are refused.

    Args:
        name: Name of the column.
        column: Texts.
        cards: What happens to card numbers.
    """
    bad = np.zeros(len(column), bool)
    long = mask(pc.greater_equal(pc.binary_length(column), SHORTEST))
    if not long.any():
        return column, bad
    encoded = column.dictionary_encode()
    words: list[str] = encoded.dictionary.to_pylist()
    held = np.fromiter(map(has_card_number, words), bool, len(words))
    if not held.any():
        return column, bad
    for place in np.flatnonzero(held).tolist():
        try:
            words[place] = cards.identifier(name, words[place])
            held[place] = False
        except CardNumberError:
            continue
    bad = mask(pa.array(held).take(encoded.indices))
    return pa.array(words, pa.string()).take(encoded.indices), bad


def numbers(column: pa.Array) -> Bools:
    """Return bool[n], which numbers of a vendor feature are card numbers."""
    values = column.fill_null(0.0).to_numpy(zero_copy_only=False)
    bad = np.zeros(len(values), bool)
    for row in np.flatnonzero(values >= 1e13).tolist():
        bad[row] = is_card_value(float(values[row]))
    return bad
