"""Copies of registered versions on this machine, each proven by the hash of its contract before anybody uses it."""

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from models.folder import BASELINE, BOOSTER, CONTRACT
from vedette.control import ModelRef
from vedette.errors import ModelError
from vedette.settings import RegistrySettings


def contract_sha256(folder: Path) -> str:
    """SHA-256 of a folder's contract.

    Raises:
        ModelError: It cannot be read.
    """
    try:
        return hashlib.sha256((folder / CONTRACT).read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(f"model file {folder / CONTRACT} cannot be read: {error.strerror}") from error


def checked(folder: Path, ref: ModelRef) -> Path:
    """The folder, if it is the version that it is taken for.

    Raises:
        ModelError: Its contract is another.
    """
    if (found := contract_sha256(folder)) != ref.contract_sha256:
        raise ModelError(
            f"{folder} holds contract {found[:12]}…, registered is {ref.contract_sha256[:12]}…",
            remedy="delete the folder, so that it is copied from the registry again",
        )
    return folder


def keep(settings: RegistrySettings, ref: ModelRef, fill: Callable[[Path], None]) -> Path:
    """This machine's copy of a version; `fill` writes it into an empty folder if there is none yet."""
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
        if not folder.exists():  # else somebody else was faster, and their copy is as good
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def copy(folder: Path, into: Path) -> None:
    """Copy the files of a model folder."""
    for file in (BOOSTER, CONTRACT, BASELINE):
        shutil.copy2(folder / file, into / file)
