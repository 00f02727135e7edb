"""The control topic as a table: every change is kept, and none expires."""

from collections.abc import Callable

import msgspec
import pytest

from archive.control_table import ControlTable
from archive.maintenance import compact
from archive.past import control_records, positions
from archive.search import Archive
from tests.archive.conftest import START, Log, Stored, payment
from tests.conftest import Dial
from vedette.clock import DAY
from vedette.control import ModelRef, Models, PolicyRecord
from vedette.settings import ArchiveSettings, Settings, TopicSettings
from vedette.topics import Name

WHO = {"approver": "Ada", "reason": "because"}
OLD, NEW = (ModelRef(name=name, version="0" * 8, contract_sha256="1" * 64) for name in ("old", "new"))
TRIAL = Models(champion=OLD, challenger=NEW, rollout_fraction=0.2, at=START, **WHO)
POLICIES = [PolicyRecord(name=f"p@{number}", files={"policy.yaml": "x"}, at=START + number, **WHO) for number in (1, 2)]


def control(*records: Models | PolicyRecord) -> list[tuple[int, bytes]]:
    """Records as their topic has them."""
    return [(0, msgspec.json.encode(record)) for record in records]


def test_a_change_is_a_row() -> None:
    """It names who approved it and what is in force; what is no record is rejected."""
    values = [*(value for _, value in control(TRIAL, POLICIES[0])), b"{}", None]
    messages = [Stored(0, offset, START, value) for offset, value in enumerate(values)]
    rows, rejected = ControlTable().rows(messages)
    assert [message.offset for message in rejected] == [2, 3]
    trial, policy = rows.select(
        ["kind", "approver", "policy", "champion", "challenger", "rollout_fraction"]
    ).to_pylist()
    assert trial == {
        "kind": "models", "approver": "Ada", "policy": None, "champion": "old@00000000", "challenger": "new@00000000",
        "rollout_fraction": 0.2,
    }  # fmt: skip
    assert (policy["kind"], policy["policy"]) == ("policy", "p@1")


@pytest.mark.parametrize("age_days", [0, 1000])
def test_changes_outlive_the_retention(
    fill: Callable[[dict[Name, Log]], None], archive_settings: ArchiveSettings, age_days: int
) -> None:
    """After the payments of their time have expired, every change is still there."""
    fill({Name.TRANSACTIONS: [(0, payment(1))], Name.CONTROL: control(TRIAL, *POLICIES)})
    kept = msgspec.structs.replace(archive_settings, retention_days=400)
    done = {table.table: table.expired for table in compact(kept, Dial(START + age_days * DAY))}
    assert (done["transactions"], done["control"]) == (1 if age_days else 0, 0)
    with Archive(kept) as archive:
        assert control_records(archive) == [TRIAL, *POLICIES]


def test_positions_are_those_behind_the_last_archived_message(
    fill: Callable[[dict[Name, Log]], None], archive_settings: ArchiveSettings
) -> None:
    """A worker that continues there repeats nothing and leaves nothing out; an empty partition begins at 0."""
    fill({Name.TRANSACTIONS: [(number % 2, payment(number)) for number in range(5)]})
    found = positions(Settings(archive=archive_settings, topics=TopicSettings(partitions=3, prefix="")))
    assert found == {Name.TRANSACTIONS: {0: 3, 1: 2, 2: 0}, Name.LABELS: {0: 0, 1: 0, 2: 0}}
