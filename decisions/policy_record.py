"""Policies as records of the control topic, which hold the policy with the files of its lists."""

from collections.abc import Mapping
from pathlib import Path

from decisions.policy import Policy
from decisions.policy_file import load_policy
from decisions.strategy import EVENT_COLUMNS
from features.catalogue import NAMES
from vedette.control import POLICY_FILE, PolicyRecord
from vedette.errors import InputError
from vedette.text import read_text

COLUMNS = frozenset({*NAMES, *EVENT_COLUMNS})
"""The columns that rules may use."""


def policy_of(files: Mapping[str, str]) -> Policy:
    """Return the policy of some files, which are by name and hold the policy itself as POLICY_FILE.

    Raises:
        PolicyError: It is not valid.
    """
    return load_policy(Path(POLICY_FILE), COLUMNS, files)


def read_policy(record: PolicyRecord) -> Policy:
    """Return the policy of a control record.

    Raises:
        PolicyError: It is not valid.
    """
    return policy_of(record.files)


def policy_files(file: Path) -> dict[str, str]:
    """Return a policy file, as POLICY_FILE, and the files of its lists.

    Raises:
        PolicyError: The policy is not valid.
    """
    lists = load_policy(file, COLUMNS).form.lists
    names = {entry.file for entry in (*lists.allow, *lists.block) if entry.file}
    return {**{name: read_text(file.parent / name) for name in names}, POLICY_FILE: read_text(file)}


def policy_record(files: Mapping[str, str], *, approver: str, reason: str, at: int) -> PolicyRecord:
    """Return the control record of a policy.

    Raises:
        PolicyError: The policy is not valid.
        InputError: Approver or reason is missing.
    """
    for what, text in (("approver", approver), ("reason", reason)):
        if not text.strip():
            raise InputError(f"a change of the policy needs a {what}", remedy=f"give --{what}")
    policy = policy_of(files)  # as workers read it, so that a record that they would refuse is never sent
    named = {entry.file for entry in (*policy.form.lists.allow, *policy.form.lists.block) if entry.file}
    kept = {name: text for name, text in files.items() if name == POLICY_FILE or name in named}
    return PolicyRecord(name=policy.name, files=kept, approver=approver, reason=reason, at=at)
