"""Provenance of a model: the rows, the libraries, the code."""

import hashlib
import subprocess
from importlib.metadata import version
from pathlib import Path

import numpy as np

from models.frame import Frame


def data_hash(frame: Frame) -> str:
    """Return the SHA-256 over column names, event times, accounts, amounts, labels and features."""
    digest = hashlib.sha256("\n".join(frame.names).encode())
    for column in (frame.event_time, frame.account, frame.amount, frame.fraud, frame.matrix):
        digest.update(np.ascontiguousarray(column).data)
    return digest.hexdigest()


def libraries() -> dict[str, str]:
    """Return the versions of the libraries that train and score."""
    return {name: version(name) for name in ("vedette", "lightgbm", "numpy", "scikit-learn")}


def git_commit(checkout: Path) -> str | None:
    """Return the commit checked out in a directory, with `-dirty` if files have changed; None without a checkout."""
    if not (checkout / ".git").exists():  # a package installed inside another checkout is not of that commit
        return None
    try:
        result = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=checkout,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
