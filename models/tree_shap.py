"""TreeSHAP of a booster in compiled code: LightGBM's contributions but for rounding, in much less time.

Along the path to a leaf every feature has a share p, that of the training rows that its splits let pass, and an answer
o for the row that is explained: 1 if its value passes them all, else 0. The leaf with value v adds

    v (o_j - p_j) times the integral over t in (0, 1) of the product over the other features i of (1 - t) p_i + t o_i

to feature j: the Shapley value by the multilinear extension of a game (Owen, 1972). The integrand is a polynomial, so
that Gauss and Legendre's rule with half as many points as the path has features gives the integral exactly.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from models.trees import Trees, as_read_only, numbers_of, tree_fields

_MOST_SPLITS = 63
"""Splits of a tree, whose answers for a row are the bits of an integer."""
_LANES = 8
"""Rows that are explained together, in the lanes of the processor's vectors."""


class TreeShap(NamedTuple):
    """The paths of all trees of a booster, one after the other.

    Attributes:
        split: int32[trees], the node of the first split of each tree in `models.trees.Trees`.
        splits: int32[trees], number of splits of each tree.
        leaf: int32[trees + 1], the first leaf of each tree.
        path: int32[leaves + 1], the first entry of each leaf: there is one for each feature on its path.
        term: int32[leaves + 1], the first term of each leaf: there is one for each entry at each point t.
        feature: int32[entries], the feature, as an index into those of the booster.
        left: int64[entries], bits of the splits by that feature which must go left.
        right: int64[entries], bits of the splits by that feature which must go right.
        terms: float64[terms, 4], by point, then entry: the factor (1 - t) p + t o for o = 0, and what is more of it for
            o = 1; then v (o - p) w / factor likewise, where w is the weight of the point.
    """

    split: NDArray[np.int32]
    splits: NDArray[np.int32]
    leaf: NDArray[np.int32]
    path: NDArray[np.int32]
    term: NDArray[np.int32]
    feature: NDArray[np.int32]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    terms: NDArray[np.float64]

    def contributions(self, trees: Trees, matrix: NDArray[np.float64], features: int) -> NDArray[np.float64]:
        """Return the contribution of each feature to the margin of each row of a matrix, float64[n, features]."""
        out = np.empty((len(matrix), features))
        nodes = trees.column, trees.threshold, trees.nan_left
        _contributions(as_read_only(np.ascontiguousarray(matrix)), *nodes, *self, out)
        return out


def read_tree_shap(text: str, trees: Trees) -> TreeShap | None:
    """Return the paths of a booster's trees, or None if its contributions are left to LightGBM.

    Args:
        text: The booster in LightGBM's text format.
        trees: The same trees, see `models.trees.read_trees`.
    """
    splits, leaf, path, term = [], [0], [0], [0]
    entries: list[_Entry] = []
    terms: list[NDArray[np.float64]] = []
    for fields in tree_fields(text):
        sizes = numbers_of(fields, "internal_count"), numbers_of(fields, "leaf_count")
        values = numbers_of(fields, "leaf_value")
        if not _explicable(*sizes, values):
            return None
        splits.append(len(values) - 1)
        leaf.append(leaf[-1] + len(values))
        for value, found in zip(values.tolist(), _paths(fields, *sizes), strict=True):
            entries += found
            path.append(len(entries))
            terms.append(_terms(value, np.array([entry.passed for entry in found])))
            term.append(term[-1] + len(terms[-1]))
    return TreeShap(
        split=trees.root,
        splits=as_read_only(np.array(splits, np.int32)),
        leaf=as_read_only(np.array(leaf, np.int32)),
        path=as_read_only(np.array(path, np.int32)),
        term=as_read_only(np.array(term, np.int32)),
        feature=as_read_only(np.array([entry.feature for entry in entries], np.int32)),
        left=as_read_only(np.array([entry.left for entry in entries], np.int64)),
        right=as_read_only(np.array([entry.right for entry in entries], np.int64)),
        terms=as_read_only(np.concatenate(terms)),
    )


def _explicable(split_count: NDArray[np.float64], leaf_count: NDArray[np.float64], values: NDArray[np.float64]) -> bool:
    """Return whether the contributions can be computed here: the tree is small, and says how many rows went where."""
    if len(values) == 1:
        return True
    complete = len(split_count) == len(values) - 1 <= _MOST_SPLITS and len(leaf_count) == len(values)
    return complete and bool((split_count > 0).all() and (leaf_count > 0).all())


class _Entry(NamedTuple):
    """A feature on the path to a leaf: its splits that must go left and right as bits, and the share that passes."""

    feature: int
    left: int = 0
    right: int = 0
    passed: float = 1.0


def _paths(
    fields: dict[str, str], split_count: NDArray[np.float64], leaf_count: NDArray[np.float64]
) -> list[list[_Entry]]:
    """Return the features on the path to each leaf of a tree."""
    if not len(split_count):
        return [[]]
    feature = numbers_of(fields, "split_feature").astype(int).tolist()
    sides = [numbers_of(fields, name).astype(int).tolist() for name in ("left_child", "right_child")]
    found: list[list[_Entry]] = [[] for _ in leaf_count]
    waiting: list[tuple[int, dict[int, _Entry]]] = [(0, {})]
    while waiting:
        split, path = waiting.pop()
        for side, children in enumerate(sides):
            child = children[split]
            count = split_count[child] if child >= 0 else leaf_count[~child]
            before = path.get(feature[split], _Entry(feature[split]))
            entry = before._replace(
                left=before.left | (0 if side else 1 << split),
                right=before.right | (1 << split if side else 0),
                passed=before.passed * count / split_count[split],
            )
            longer = {**path, feature[split]: entry}
            if child >= 0:
                waiting.append((child, longer))
            else:
                found[~child] = list(longer.values())
    return found


def _terms(value: float, passed: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the terms of a leaf, float64[points * entries, 4], see TreeShap."""
    points, weights = np.polynomial.legendre.leggauss((len(passed) + 1) // 2) if len(passed) else (np.empty(0),) * 2
    t, w = ((points + 1) / 2)[:, None], (weights / 2)[:, None]
    fails, passes = (1 - t) * passed, (1 - t) * passed + t
    missed, reached = -value * passed * w / fails, value * (1 - passed) * w / passes
    return np.stack([fails, passes - fails, missed, reached - missed], axis=-1).reshape(-1, 4)


@numba.njit(cache=True, nogil=True)
def _contributions(
    matrix: NDArray[np.float64],
    column: NDArray[np.int32],
    threshold: NDArray[np.float64],
    nan_left: NDArray[np.int32],
    split: NDArray[np.int32],
    splits: NDArray[np.int32],
    leaf: NDArray[np.int32],
    path: NDArray[np.int32],
    term: NDArray[np.int32],
    feature: NDArray[np.int32],
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    terms: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Fill each row of `out` with what the features of its row of `matrix` contribute, tree after tree."""
    n, features = out.shape
    total = np.empty((features, _LANES))
    passes = np.empty((_MOST_SPLITS, _LANES))
    went_left = np.zeros(_LANES, np.int64)
    product = np.empty(_LANES)
    for start in range(0, n, _LANES):
        rows = min(_LANES, n - start)
        total[:] = 0.0
        for tree in range(splits.shape[0]):
            for row in range(rows):
                went_left[row] = 0
                for s in range(splits[tree]):
                    node = split[tree] + s
                    given = matrix[start + row, column[node]]
                    is_nan = np.int64(given != given)  # noqa: PLR0124
                    went_left[row] |= (np.int64(given <= threshold[node]) | (nan_left[node] & is_nan)) << s
            for end in range(leaf[tree], leaf[tree + 1]):
                first, past = path[end], path[end + 1]
                _pass(went_left, left[first:past], right[first:past], passes)
                _add(passes, product, feature[first:past], terms[term[end] : term[end + 1]], total)
        for row in range(rows):
            for f in range(features):
                out[start + row, f] = total[f, row]


@numba.njit(cache=True, nogil=True)
def _pass(
    went_left: NDArray[np.int64], left: NDArray[np.int64], right: NDArray[np.int64], passes: NDArray[np.float64]
) -> None:
    """Fill `passes` with whether each row's value of each feature passes its splits on a path: 1 or 0."""
    for e in range(left.shape[0]):
        for row in range(_LANES):
            wrong = (left[e] & ~went_left[row]) | (right[e] & went_left[row])
            passes[e, row] = 1.0 if wrong == 0 else 0.0


@numba.njit(cache=True, nogil=True)
def _add(
    passes: NDArray[np.float64],
    product: NDArray[np.float64],
    feature: NDArray[np.int32],
    terms: NDArray[np.float64],
    total: NDArray[np.float64],
) -> None:
    """Add to `total` what a leaf adds to each feature on its path, for all lanes."""
    length = feature.shape[0]
    for k in range(0, terms.shape[0], max(length, 1)):
        product[:] = 1.0
        for e in range(length):
            for row in range(_LANES):
                product[row] *= terms[k + e, 0] + terms[k + e, 1] * passes[e, row]
        for e in range(length):
            for row in range(_LANES):
                share = terms[k + e, 2] + terms[k + e, 3] * passes[e, row]
                total[feature[e], row] += product[row] * share
