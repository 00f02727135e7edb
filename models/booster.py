"""A LightGBM booster through the C interface of LightGBM's library.

The Python package of LightGBM imports scikit-learn, pandas and SciPy, which takes seconds; scoring needs none of them.
"""

import ctypes
import functools
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.tree_shap import read_tree_shap
from models.trees import read_trees
from vedette.errors import ModelError

Floats = NDArray[np.float64]

_FLOAT64, _ROW_MAJOR = 1, 1
_RAW, _CONTRIBUTIONS = 1, 3
"""What is predicted: LightGBM's C_API_PREDICT_RAW_SCORE and C_API_PREDICT_CONTRIB."""
_ONE_THREAD = b"num_threads=1"
_LIBRARIES = ("lib_lightgbm.so", "lib_lightgbm.dylib", "lib_lightgbm.dll")


class Booster:
    """A booster that predicts in the calling thread. A row's results are bit-identical in every batch.

    Args:
        text: The booster in LightGBM's text format.
        columns: For each of its features, the column in the matrices to predict.

    Raises:
        ModelError: LightGBM's library is missing.
        ValueError: The text is not a booster.
    """

    def __init__(self, text: str, columns: NDArray[np.int64]) -> None:
        self._library = _library()
        self._handle = ctypes.c_void_p()
        iterations = ctypes.c_int()
        self._call(
            "BoosterLoadModelFromString", text.encode(), ctypes.byref(iterations), ctypes.byref(self._handle)
        )  # fmt: skip
        self._columns = columns
        self._trees = read_trees(text, columns)
        self._shap = read_tree_shap(text, self._trees) if self._trees else None

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.LGBM_BoosterFree(self._handle)

    def margins(self, matrix: Floats) -> Floats:
        """Return the log-odds of n rows, float64[n]."""
        if self._trees:
            return self._trees.margins(matrix)
        return self._predict(matrix, _RAW, 1)[:, 0]

    def contributions(self, matrix: Floats) -> Floats:
        """Return the contributions of the features to the log-odds (TreeSHAP), float64[n, features of the booster]."""
        if self._trees and self._shap:
            return self._shap.contributions(self._trees, matrix, len(self._columns))
        return self._predict(matrix, _CONTRIBUTIONS, len(self._columns) + 1)[:, :-1]  # the last is a constant

    def _predict(self, matrix: Floats, kind: int, width: int) -> Floats:
        rows = np.ascontiguousarray(np.take(matrix, self._columns, axis=1), np.float64)
        out = np.empty((len(rows), width))
        length = ctypes.c_int64()
        self._call(
            "BoosterPredictForMat", self._handle, rows.ctypes, _FLOAT64, len(rows), rows.shape[1], _ROW_MAJOR, kind,
            0, -1, _ONE_THREAD, ctypes.byref(length), out.ctypes,
        )  # fmt: skip
        return out

    def _call(self, function: str, *arguments: Any) -> None:
        """Call a function of the library.

        Raises:
            ValueError: It failed; the message is LightGBM's.
        """
        if getattr(self._library, f"LGBM_{function}")(*arguments):
            reason = self._library.LGBM_GetLastError().decode(errors="replace")
            raise ValueError(reason)


def feature_names(text: str) -> list[str]:
    """Return the names of a booster's features, in order."""
    head = text.partition("\nTree=")[0]
    return next((line.split("=", 1)[1].split() for line in head.splitlines() if line.startswith("feature_names=")), [])


@functools.cache
def _library() -> ctypes.CDLL:
    """Return LightGBM's library, found where its package keeps it, without importing the package."""
    package = importlib.util.find_spec("lightgbm")
    folders = [Path(place) for place in package.submodule_search_locations or ()] if package else []
    for path in (folder / part / name for folder in folders for part in ("lib", "bin") for name in _LIBRARIES):
        if path.is_file():
            library = ctypes.CDLL(str(path))
            library.LGBM_GetLastError.restype = ctypes.c_char_p
            return library
    raise ModelError("LightGBM's library is not installed", remedy="install the package lightgbm as a wheel")
