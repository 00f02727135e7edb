"""The compare-and-set loop: read, apply a pure step, store, and repeat if another writer was faster."""

from collections.abc import Callable
from typing import TypeVar

from vedette.errors import UnavailableError

_ATTEMPTS = 1000

StateT = TypeVar("StateT")
ResultT = TypeVar("ResultT")


def update(
    read: Callable[[], StateT],
    step: Callable[[StateT], tuple[StateT | None, ResultT]],
    store: Callable[[StateT, StateT], bool],
    subject: str,
) -> ResultT:
    """Apply a step to a stored value, and return its result once the new value is stored.

    Args:
        read: Reads the stored value.
        step: Returns the new value (None or an equal value: nothing is stored) and a result.
        store: Replaces the first value by the second; False if the first has changed.
        subject: Name of the value, for an error that a customer may read.

    Raises:
        UnavailableError: Others were faster every time.
    """
    for _ in range(_ATTEMPTS):
        before = read()
        after, result = step(before)
        if after is None or after == before or store(before, after):
            return result
    raise UnavailableError(f"{subject} changes too fast to take a step")
