"""Arrays in the form in which the kernels take them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray


def given(*arrays: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield the arrays contiguous and read-only.

    Numba compiles a kernel again, for seconds, for each mixture of arrays that may and may not be written; and an Arrow
    column is the one or the other by whether it has nulls.
    """
    for array in arrays:
        fixed = np.ascontiguousarray(array).view()
        fixed.flags.writeable = False
        yield fixed
