"""Operations of the operator's commands: rotate keys, import contacts, create an enrolment link."""

import csv
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from access.audit import open_audit
from adapters.logs import service_log
from challenges.bootstrap import ChallengeService, wire
from challenges.enrol_api import enrolment_link as make_link
from vedette.clock import SystemClock
from vedette.errors import InputError
from vedette.settings import Settings

_COLUMNS = ("account_id", "phone", "email", "language")


def rotate(settings: Settings) -> int:
    """Seal every app's secret with the keyring's first key, and return the number of changed ones. Idempotent.

    Raises:
        StateError: A secret's key is not in the keyring.
    """
    with _wired(settings) as service:
        return sum(service.enrolment.rotate(account_id) for account_id in service.challenges.store.accounts())


def import_contacts(settings: Settings, file: Path) -> int:
    """Import a CSV file with columns account_id and any of phone, email and language, and return the number of rows.

    Raises:
        InputError: The file is not valid; the row is named. Rows before it have been imported.
    """
    taken = 0
    with _wired(settings) as service, _opened(file) as rows:
        for row in rows:
            account_id = row.get("account_id") or ""
            if not 1 <= len(account_id) <= 64:
                raise InputError(f"{file}, row {taken + 2}: account_id {account_id!r} is not 1 to 64 characters")
            given = {name: row.get(name) or "" for name in _COLUMNS[1:]}
            try:
                service.enrolment.vouch(service.enrolment.trusted(account_id, ""), **given)
            except InputError as error:
                raise InputError(f"{file}, row {taken + 2}: {error}") from error
            taken += 1
    return taken


def enrolment_link(settings: Settings, account_id: str) -> str:
    """Return a link to the enrolment pages, for a holder who has been identified."""
    with _wired(settings) as service:
        return make_link(service.enrolment, service.enrolment_links, service.public_url, account_id, "")


@contextmanager
def _opened(file: Path) -> Iterator["csv.DictReader[str]"]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            rows = csv.DictReader(text)
            unknown = set(rows.fieldnames or ()) - set(_COLUMNS)
            if "account_id" not in (rows.fieldnames or ()) or unknown:
                raise InputError(f"{file} must have the column account_id and may have {', '.join(_COLUMNS[1:])}")
            yield rows
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not UTF-8 text", remedy="save it as UTF-8 (in Excel: CSV UTF-8)") from error
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from error


@contextmanager
def _wired(settings: Settings) -> Iterator[ChallengeService]:
    clock = SystemClock()
    with (
        open_audit(settings.audit, clock, "operator") as audit,
        wire(settings, clock=clock, entropy=os.urandom, audit=audit, log=service_log("challenges")) as service,
    ):
        yield service
