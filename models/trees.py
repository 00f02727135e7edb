"""A booster's trees as flat arrays, walked by compiled code: the margins of LightGBM, bit for bit, in less time.

Walked are trees of the usual form, with numerical splits where NaN or nothing stands for a missing value. Every other
form is left to LightGBM.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

_ZERO = float(np.float32(1e-35))
"""LightGBM takes a value that is no further from zero than this for zero."""
_CATEGORICAL, _DEFAULT_LEFT, _MISSING_ZERO, _MISSING_NAN = 1, 2, 4, 8
"""Bits of a split's decision type."""
_BLOCK = 32
"""Number of rows that go through all trees together, so that they stay in the processor's cache."""


class Trees(NamedTuple):
    """All trees of a booster, one after the other. A leaf is a node whose children are the node itself.

    Attributes:
        root: int32[trees], the first node of each tree.
        depth: int32[trees], number of splits on the longest path of each tree.
        column: int32[nodes], the column that is compared.
        threshold: float64[nodes], the largest value that goes left.
        nan_left: int32[nodes], 1 if NaN goes left, else 0.
        child: int32[nodes, 2], the next node on the right, and on the left.
        value: float64[nodes], the value of a leaf; 0 for other nodes.
    """

    root: NDArray[np.int32]
    depth: NDArray[np.int32]
    column: NDArray[np.int32]
    threshold: NDArray[np.float64]
    nan_left: NDArray[np.int32]
    child: NDArray[np.int32]
    value: NDArray[np.float64]

    def margins(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum of all trees for each row of a matrix, float64[n]."""
        out = np.zeros(len(matrix))
        _walk(as_read_only(np.ascontiguousarray(matrix)), *self, out)
        return out


def read_trees(text: str, columns: NDArray[np.int64]) -> Trees | None:
    """Return the trees of a booster, or None if they are left to LightGBM.

    Args:
        text: The booster in LightGBM's text format.
        columns: For each feature of the booster, its column in the matrices to score.
    """
    head = text.partition("\nTree=")[0]
    if "\nnum_tree_per_iteration=1\n" not in head or "\naverage_output" in head:
        return None
    trees: list[Trees] = []
    nodes = 0
    for fields in tree_fields(text):
        tree = _tree(fields, columns, nodes)
        if tree is None:
            return None
        trees.append(tree)
        nodes += len(tree.value)
    return Trees(*(as_read_only(np.concatenate(arrays)) for arrays in zip(*trees, strict=True))) if trees else None


def tree_fields(text: str) -> Iterator[dict[str, str]]:
    """Yield the lines of each tree of a booster in LightGBM's text format, by name."""
    for body in text.partition("\nend of trees")[0].split("\nTree=")[1:]:
        yield dict(line.split("=", 1) for line in body.splitlines() if "=" in line)


def numbers_of(fields: dict[str, str], name: str) -> NDArray[np.float64]:
    """Return the numbers of a line of a tree; none if the line is missing."""
    return np.array(fields.get(name, "").split(), np.float64)


def _tree(fields: dict[str, str], columns: NDArray[np.int64], first: int) -> Trees | None:
    """Return a tree whose nodes are numbered from `first` on, or None if it is left to LightGBM.

    Args:
        fields: The lines of the tree in the text format: splits and leaves are numbered apart, a leaf as ~leaf.
        columns: As for `read_trees`.
        first: Number of the first split; the other splits follow, then the leaves.
    """
    decision = numbers_of(fields, "decision_type").astype(np.int64)
    if (decision & (_CATEGORICAL | _MISSING_ZERO)).any() or fields.get("is_linear", "0") != "0":
        return None
    splits, leaf = len(decision), numbers_of(fields, "leaf_value")
    if len(leaf) != splits + 1:
        return None
    child = np.column_stack([numbers_of(fields, "right_child"), numbers_of(fields, "left_child")]).astype(np.int32)
    child = np.where(child >= 0, child, splits + ~child).astype(np.int32)
    leaves = np.arange(splits, splits + len(leaf))
    threshold = numbers_of(fields, "threshold")
    # Where NaN is not what is missing, LightGBM takes it for zero.
    nan_left = np.where(decision & _MISSING_NAN, decision & _DEFAULT_LEFT, threshold >= 0)
    # A value near zero, of either sign, goes where zero goes.
    near = (threshold >= -_ZERO) & (threshold < _ZERO)
    threshold[near] = np.where(threshold[near] >= 0, _ZERO, np.nextafter(-_ZERO, -np.inf))
    return Trees(
        root=np.array([first], np.int32),
        depth=np.array([_depth(child, splits)], np.int32),
        column=np.append(columns[numbers_of(fields, "split_feature").astype(np.int64)], np.zeros(len(leaf))).astype(
            np.int32
        ),
        threshold=np.append(threshold, np.zeros(len(leaf))),
        nan_left=np.append(nan_left != 0, np.zeros(len(leaf))).astype(np.int32),
        child=(first + np.vstack([child, np.column_stack([leaves, leaves])])).astype(np.int32),
        value=np.append(np.zeros(splits), leaf),
    )


def _depth(child: NDArray[np.int32], splits: int) -> int:
    """Return the number of splits on the longest path from the first one."""
    depth, level = 0, [0] if splits else []
    while level:
        depth += 1
        level = [node for node in child[level].ravel().tolist() if node < splits]
    return depth


def as_read_only(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array that cannot be written: a kernel would be compiled again for one that can."""
    view = array.view()
    view.flags.writeable = False
    return view


@numba.njit(cache=True, nogil=True)
def _walk(
    matrix: NDArray[np.float64],
    root: NDArray[np.int32],
    depth: NDArray[np.int32],
    column: NDArray[np.int32],
    threshold: NDArray[np.float64],
    nan_left: NDArray[np.int32],
    child: NDArray[np.int32],
    value: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Add to each row of `out` the values of its leaves, in the order of the trees.

    All rows of a block go down a tree level by level, without a branch that the processor could predict wrongly.
    """
    n = matrix.shape[0]
    place = np.empty(_BLOCK, np.int32)
    for start in range(0, n, _BLOCK):
        rows = min(_BLOCK, n - start)
        for tree in range(root.shape[0]):
            for row in range(rows):
                place[row] = root[tree]
            for _ in range(depth[tree]):
                for row in range(rows):
                    node = place[row]
                    given = matrix[start + row, column[node]]
                    is_nan = np.int32(given != given)  # noqa: PLR0124
                    place[row] = child[node, np.int32(given <= threshold[node]) | (nan_left[node] & is_nan)]
            for row in range(rows):
                out[start + row] += value[place[row]]
