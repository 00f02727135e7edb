"""Batches with a single message that has few fields or cannot be read."""

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import msgspec
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from decisions.strategy import Strategy
from features.catalogue import ENTITIES
from features.identity import OPEN
from producers.poison import MOMENT, POISON
from streams.arrow import ACTIVITY, read, write
from streams.bootstrap import load_strategy
from streams.history.run_output import Topics
from streams.pipeline import Pipeline
from tests.conftest import ROOT
from tests.streams.conftest import PARTITIONS, MakePipeline, NewDeployment
from tests.streams.feed import Record
from vedette.events import Label, Transaction
from vedette.settings import Settings
from vedette.topics import WORKER_INPUTS, Name

OPTIONAL = {
    "merchant_id": "m1",
    "payee": "p1",
    "mcc": "5812",
    "channel": "transfer",
    "country": "ES",
    "lat": 40.4,
    "lon": -3.7,
    "device_id": "d1",
    "ip_address": "192.0.2.1",
    "balance": 1_000_00,
    "account_type": "prepaid",
    "account_opened_at": MOMENT - 1_000_000_000,
    "extra": {"vendor": 0.5},
}
TOUCHED = ("merchant_id", "payee", "device_id", "ip_address")
"""What the activity of a payment is about, and what may stand in for a merchant."""

# Every column that a rule, limit or list can read is read, so that none of them minds a batch without values.
EVERY_COLUMN = """
format: 1
name: every-column
version: 1
rules:
{rules}
limits:
  - {{name: typed, account_type: prepaid, currency: EUR, daily: 1000, action: challenge}}
  - {{name: own, currency: EUR, monthly: 10000, action: challenge, accounts: {{a0: {{daily: 5}}}}}}
lists:
  block:
{lists}
"""
TEXT = {
    "merchant_id": "none", "payee": "none", "mcc": "0742", "channel": "phone", "country": "FR", "device_id": "none",
    "ip_address": "none", "account_type": "none", "account_id": "none", "currency": "USD",
}  # fmt: skip
"""Columns of text, each with a value that no payment here has."""
NUMBERS = ("lat", "lon", "balance", "account_opened_at", "amount", "event_time")
LISTED = ("account_id", "merchant_id", "payee", "country", "device_id")


@pytest.fixture(scope="module")
def reads_all(tmp_path_factory: pytest.TempPathFactory) -> Strategy:
    """The shipped model with a policy that reads every column."""
    rules = [
        f"{{name: text-{i}, when: \"{name} = '{TEXT[name]}'\", action: review, reason: r}}"
        for i, name in enumerate(TEXT)
    ]
    rules += [
        f'{{name: number-{i}, when: "{name} < -1e12", action: review, reason: r}}' for i, name in enumerate(NUMBERS)
    ]
    lists = [f"{{name: list-{i}, column: {name}, values: [{TEXT[name]}], reason: r}}" for i, name in enumerate(LISTED)]
    file = tmp_path_factory.mktemp("policy") / "policy.yaml"
    bullets = [
        "\n".join(f"{indent}- {entry}" for entry in entries) for indent, entries in (("  ", rules), ("    ", lists))
    ]
    file.write_text(EVERY_COLUMN.format(rules=bullets[0], lists=bullets[1]), encoding="utf-8")
    return load_strategy(ROOT / "models/demo", file)


class Door:
    """Passes one message after another through a pipeline, each as a batch of its own."""

    def __init__(self, pipeline: Pipeline, settings: Settings) -> None:
        self.settings = settings
        self.pipeline = pipeline
        self.pipeline.assign(set(range(PARTITIONS)))
        self._next = dict.fromkeys(WORKER_INPUTS, 0)

    def take(self, topic: Name, *values: bytes | None) -> None:
        """Compute, publish and commit one batch of messages of partition 0."""
        start = self._next[topic]
        self._next[topic] += len(values)
        batch = [Record(b"k", value, 0, start + i) for i, value in enumerate(values)]
        work = self.pipeline.compute(topic, {0: batch})
        assert work is not None
        self.pipeline.settle([work])
        sent = self.pipeline.send([work])
        self.pipeline.confirm(sent)
        for update in work.updates:
            self.pipeline.commit(sent, update.partition)
        assert self.pipeline.owned[0].written_position(topic) == self._next[topic]


@pytest.fixture
def door(deployment: NewDeployment, pipeline: MakePipeline, reads_all: Strategy) -> Door:
    """A pipeline that has processed nothing yet."""
    settings = deployment("a")
    return Door(pipeline(settings, reads_all), settings)


def payment(number: int, given: Sequence[str]) -> bytes:
    """Return a payment with the required fields and these."""
    said = {name: OPTIONAL[name] for name in given}
    return msgspec.json.encode(
        Transaction(
            transaction_id=f"t{number}", account_id=f"a{number % 7}", amount=100, currency="EUR",
            event_time=MOMENT + number, **said,
        )  # type: ignore[arg-type]
    )  # fmt: skip


def subsets() -> Iterator[list[str]]:
    """The valid combinations of entities that a payment may name, each without and with all other fields."""
    others = [name for name in OPTIONAL if name not in TOUCHED]
    for chosen in product((False, True), repeat=len(TOUCHED)):
        named = [name for name, taken in zip(TOUCHED, chosen, strict=True) if taken]
        if "merchant_id" in named or "payee" in named:
            yield named
            yield named + others
    for name in others:
        yield ["payee", name]
        yield [other for other in OPTIONAL if other != name]


def decided(topics: Topics) -> set[str]:
    """Return the ids of the decided transactions."""
    return {msgspec.json.decode(message.value())["transaction_id"] for message in topics.messages(Name.DECISIONS)}


def test_payment_alone_in_its_batch_needs_no_optional_field(door: Door, topics: Callable[[Settings], Topics]) -> None:
    """Whichever optional fields a payment leaves out, it is decided, published and written when it comes alone."""
    given = list(subsets())
    for number, named in enumerate(given):
        door.take(Name.TRANSACTIONS, payment(number, named))
    reader = topics(door.settings)
    assert decided(reader) == {f"t{i}" for i in range(len(given))}
    assert len(reader.messages(Name.FEATURES)) == len(given)
    assert not reader.messages(Name.DLQ)


@hypothesis_settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.sets(st.sampled_from(sorted(OPTIONAL))), min_size=1, max_size=4))
def test_any_mixture_of_fields_is_decided(door: Door, batch: list[set[str]]) -> None:
    """Small batches of payments with any optional fields are processed, with history and without."""
    records = [payment(i, sorted(named | {"payee"})) for i, named in enumerate(batch)]
    assert door.pipeline.decide_without_history([Record(b"k", value, 0, i) for i, value in enumerate(records)])
    door.take(Name.TRANSACTIONS, *records)


def test_transfers_and_cash_withdrawals_are_decided(door: Door, topics: Callable[[Settings], Topics]) -> None:
    """Batches with only payments to payees, without merchant, device and address, are activity of the payees alone."""
    for start in range(0, 40, 20):
        door.take(Name.TRANSACTIONS, *(payment(i, ["payee", "channel", "balance"]) for i in range(start, start + 20)))
    reader = topics(door.settings)
    assert decided(reader) == {f"t{i}" for i in range(40)}
    messages = reader.messages(Name.ACTIVITY)
    activity = pa.Table.from_batches([read(each.value()).replace_schema_metadata(None) for each in messages])
    assert activity.column("kind").to_pylist() == [list(ENTITIES).index("payee")] * 40


def test_label_alone_in_its_batch_needs_no_entity(door: Door, topics: Callable[[Settings], Topics]) -> None:
    """A label that names any or none of merchant, device, address and payee is processed when it comes alone."""
    fields = ("merchant_id", "device_id", "ip_address", "payee")
    for number, chosen in enumerate(product((False, True), repeat=len(fields))):
        named = {name: OPTIONAL[name] for name, taken in zip(fields, chosen, strict=True) if taken}
        label = Label(
            transaction_id=f"t{number}", account_id="a1", fraud=bool(number % 2), source="analyst", event_time=MOMENT,
            labelled_at=MOMENT, **named,
        )  # type: ignore[arg-type]  # fmt: skip
        door.take(Name.LABELS, msgspec.json.encode(label))
    assert not topics(door.settings).messages(Name.DLQ)


@pytest.mark.parametrize("topic", WORKER_INPUTS)
def test_unreadable_message_alone_in_its_batch_is_set_aside(
    topic: Name, door: Door, topics: Callable[[Settings], Topics]
) -> None:
    """Every kind of poison, alone in its batch on any topic, goes to the dead letters, and so does a whole batch."""
    values = [poison.value for poison in POISON]
    for value in values:
        door.take(topic, value)
    door.take(topic, *values)
    letters = topics(door.settings).messages(Name.DLQ)
    assert sorted(letter.value() or b"" for letter in letters) == sorted(2 * [value or b"" for value in values])


def test_activity_of_nothing_is_taken_in(door: Door, topics: Callable[[Settings], Topics]) -> None:
    """A record batch without rows on the activity topic is not a dead letter and moves the watermark."""
    empty = pa.RecordBatch.from_pylist(
        [], ACTIVITY.with_metadata({"source": "transactions", "identity": str(OPEN.fingerprint)})
    )
    door.take(Name.ACTIVITY, write(empty))
    door.take(Name.ACTIVITY, write(empty), None)
    assert len(topics(door.settings).messages(Name.DLQ)) == 1


@pytest.mark.parametrize("topic", WORKER_INPUTS)
def test_batch_of_no_messages_changes_nothing(topic: Name, door: Door) -> None:
    """Partitions without messages, or no partition at all, do not make a batch."""
    assert door.pipeline.compute(topic, {}) is None
    assert door.pipeline.compute(topic, {0: [], 1: []}) is None
