"""Copies of registered versions on this machine, each verified by the hash of its contract before use."""

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from models.file_names import BASELINE, BOOSTER, CONTRACT
from vedette.control import ModelRef
from vedette.errors import ModelError
from vedette.settings import RegistrySettings


def contract_sha256(folder: Path) -> str:
    """Return the SHA-256 of a folder's contract.

    Raises:
        ModelError: The contract cannot be read.
    """
    try:
        return hashlib.sha256((folder / CONTRACT).read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(f"model file {folder / CONTRACT} cannot be read: {error.strerror}") from error


def checked(folder: Path, ref: ModelRef) -> Path:
    """Return the folder if it holds the given version.

    Raises:
        ModelError: The folder holds another contract.
    """
    if (found := contract_sha256(folder)) != ref.contract_sha256:
        raise ModelError(
            f"{folder} holds contract {found[:12]}…, registered is {ref.contract_sha256[:12]}…",
            remedy="delete the folder, so that it is copied from the registry again",
        )
    return folder


def keep(settings: RegistrySettings, ref: ModelRef, fill: Callable[[Path], None]) -> Path:
    """Return this machine's copy of a version; `fill` writes it into an empty folder if there is none."""
    folder = Path(settings.served) / ref.name / f"{ref.version}-{ref.contract_sha256[:8]}"
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        fill(fresh)
        fresh.chmod(0o755)
        fresh.rename(folder)
    except OSError:
        if not folder.exists():  # otherwise another process was faster, and its copy is as good
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def copy(folder: Path, into: Path) -> None:
    """Copy the files of a model folder."""
    for file in (BOOSTER, CONTRACT, BASELINE):
        shutil.copy2(folder / file, into / file)
