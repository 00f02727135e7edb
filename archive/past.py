"""A past period of the archive, for what-if, training and backfill: only its days and the wanted columns are read."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import msgspec
import pyarrow as pa

from archive.search import Archive, Question, View, days_of
from archive.service import open_table
from archive.tables import TABLES
from archive.writer import application
from vedette.control import MODELS, POLICY, ControlRecord, Models, PolicyRecord
from vedette.events import MAX_TIME, Label, Transaction
from vedette.settings import Settings
from vedette.topics import Name

_FIELDS = ", ".join(
    f"epoch_ms(t.{name}) AS {name}" if name in {"event_time", "account_opened_at"} else f"t.{name}"
    for name in Transaction.__struct_fields__
)
_HISTORY = f"""SELECT {_FIELDS}, epoch_ms(t.produced_at) AS produced_at,
        p.fraud, epoch_ms(p.labelled_at) AS labelled_at,
        CASE WHEN NOT p.degraded THEN p.action END AS recorded_action, p.score AS recorded_score
    FROM transactions t JOIN payments p USING (kafka_partition, kafka_offset)
    ORDER BY event_time, kafka_partition, kafka_offset"""  # noqa: S608, fields of the event
_LAST_LABEL = """SELECT * REPLACE (epoch_ms(event_time) AS event_time, epoch_ms(labelled_at) AS labelled_at)
    FROM labels QUALIFY row_number() OVER (
        PARTITION BY transaction_id ORDER BY labelled_at DESC, kafka_partition DESC, kafka_offset DESC
    ) = 1"""
_TYPES: dict[str, type[Models | PolicyRecord]] = {MODELS: Models, POLICY: PolicyRecord}


@dataclass(frozen=True)
class Period:
    """A period of event time: from the first millisecond to before the second one; None is without end."""

    since: int | None = None
    until: int | None = None

    @property
    def question(self) -> Question:
        """The query for its payments."""
        return Question(since=self.since, until=self.until)


def transactions(archive: Archive, period: Period) -> pa.RecordBatchReader:
    """Return the transactions of a period in order of event time, each once.

    The columns are the fields of Transaction and `produced_at`, with times in milliseconds; `fraud` and `labelled_at`
    of the label known last; and `recorded_action` and `recorded_score` of the standing decision. These are null where
    there is none.
    """
    return archive.ask_in_pieces(period.question, _HISTORY)


def extra_names(archive: Archive, period: Period) -> list[str]:
    """Return the names of the extra values that transactions of a period have, sorted."""
    query = "SELECT DISTINCT unnest(map_keys(extra)) AS name FROM transactions ORDER BY name"
    with closing(archive.stream([View(Name.TRANSACTIONS, days_of(period.question))], query, {})) as answer:
        return answer.read_all()["name"].to_pylist()  # type: ignore[no-any-return]


def labels(archive: Archive, period: Period) -> Iterator[Label]:
    """Yield the label known last of each payment of the days of a period."""
    with closing(archive.stream([View(Name.LABELS, days_of(period.question))], _LAST_LABEL, {})) as answer:
        for piece in answer:
            for row in piece.select(Label.__struct_fields__).to_pylist():
                yield Label(**row)


def feature_log(archive: Archive, period: Period, features_hash: str) -> pa.Table:
    """Return the feature log of a period in order of event time, the last row of each payment, of one catalogue.

    The columns are those of the table, with `event_time` in milliseconds.
    """
    bounds = {"hash": features_hash, "since": period.since or 0, "until": period.until or MAX_TIME}
    query = """SELECT * REPLACE (epoch_ms(event_time) AS event_time) FROM features
        WHERE features_hash = $hash AND epoch_ms(event_time) >= $since AND epoch_ms(event_time) < $until
        QUALIFY row_number() OVER (PARTITION BY transaction_id ORDER BY produced_at DESC, kafka_row DESC) = 1
        ORDER BY event_time, kafka_partition, kafka_offset, kafka_row"""
    views = [View(Name.FEATURES, days_of(period.question))]
    with closing(archive.stream(views, query, bounds)) as answer:
        return answer.read_all()


def positions(settings: Settings) -> dict[Name, dict[int, int]]:
    """Return the offset behind the last archived message of each partition of transactions and labels.

    Raises:
        UnavailableError: There is no archive, or its storage does not answer.
    """
    found: dict[Name, dict[int, int]] = {}
    for table in TABLES:
        if table.topic in (Name.TRANSACTIONS, Name.LABELS):
            delta, topic = open_table(settings.archive, table), settings.topics.prefix + table.topic
            numbers = range(settings.topics.partitions)
            found[table.topic] = {
                number: delta.transaction_version(application(topic, number)) or 0 for number in numbers
            }
    return found


def control_records(archive: Archive) -> list[ControlRecord]:
    """Return every change of models and policy while the control topic was archived, the oldest first."""
    query = "SELECT kind, record FROM control ORDER BY kafka_partition, kafka_offset"
    with closing(archive.stream([View(Name.CONTROL, (None, None))], query, {})) as answer:
        rows = answer.read_all().to_pylist()
    return [msgspec.json.decode(row["record"], type=_TYPES[row["kind"]]) for row in rows]
