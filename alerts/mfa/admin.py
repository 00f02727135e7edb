"""What an operator does by command: rotate keys, take over contacts, hand out a link."""

import csv
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alerts.audit import open_audit
from alerts.mfa.bootstrap import Wired, wire
from alerts.notify.bootstrap import stderr_log
from vedette.clock import SystemClock
from vedette.errors import InputError
from vedette.settings import Settings

_COLUMNS = ("account_id", "phone", "email", "language")


def rotate(settings: Settings) -> int:
    """Seal every app's secret with the keyring's first key; how many were not yet. It may be stopped and repeated.

    Raises:
        StateError: A secret's key is not in the keyring.
    """
    with _wired(settings) as wired:
        return sum(wired.enrolment.rotate(account_id) for account_id in wired.challenges.store.accounts())


def import_contacts(settings: Settings, file: Path) -> int:
    """Take over a CSV file with columns account_id and any of phone, email and language; how many rows.

    Raises:
        InputError: The file does not have that form; the row is named. Rows before it have been taken over.
    """
    taken = 0
    with _wired(settings) as wired, _opened(file) as rows:
        for row in rows:
            account_id = row.get("account_id") or ""
            if not 1 <= len(account_id) <= 64:
                raise InputError(f"{file}, row {taken + 2}: account_id {account_id!r} is not 1 to 64 characters")
            given = {name: row.get(name) or "" for name in _COLUMNS[1:]}
            try:
                wired.enrolment.vouch(account_id, **given)
            except InputError as error:
                raise InputError(f"{file}, row {taken + 2}: {error}") from error
            taken += 1
    return taken


def enrolment_link(settings: Settings, account_id: str) -> str:
    """A link to the enrolment pages, for a holder who has been identified."""
    with _wired(settings) as wired:
        return wired.links.make(account_id)


@contextmanager
def _opened(file: Path) -> Iterator["csv.DictReader[str]"]:
    try:
        with file.open(newline="", encoding="utf-8") as text:
            rows = csv.DictReader(text)
            unknown = set(rows.fieldnames or ()) - set(_COLUMNS)
            if "account_id" not in (rows.fieldnames or ()) or unknown:
                raise InputError(f"{file} must have the column account_id and may have {', '.join(_COLUMNS[1:])}")
            yield rows
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read: {error}") from error


@contextmanager
def _wired(settings: Settings) -> Iterator[Wired]:
    clock = SystemClock()
    with (
        open_audit(settings.audit, clock, "operator") as audit,
        wire(settings, clock=clock, entropy=os.urandom, audit=audit, log=stderr_log()) as wired,
    ):
        yield wired
