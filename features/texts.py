"""Columns of text in few operations: for a small batch, Arrow takes longer to convert a constant than to compare it."""

import functools

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


def truth(marked: pa.Array) -> NDArray[np.bool_]:
    """Return which values of an Arrow array of booleans are true, bool[n]; null is not."""
    filled = marked.fill_null(_constant(False)) if marked.null_count else marked
    return filled.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def equal(texts: pa.Array, text: str) -> NDArray[np.bool_]:
    """Return which texts of an Arrow array are this one, bool[n]; null is not."""
    if texts.null_count == len(texts):
        return np.zeros(len(texts), np.bool_)
    return truth(pc.equal(texts, _constant(text)))


def distinct(texts: pa.Array) -> tuple[list[str], NDArray[np.int32]]:
    """Return the distinct texts of an Arrow array without nulls, and the index of each text among them, int32[n].

    Mostly there is one, such as the currency of a batch.
    """
    if len(texts) and not texts.null_count:
        first: str = texts[0].as_py()
        if equal(texts, first).all():
            return [first], np.zeros(len(texts), np.int32)
    encoded = texts.dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy(zero_copy_only=False)


@functools.lru_cache(10_000)
def _constant(value: str | bool) -> pa.Scalar:
    return pa.scalar(value)
