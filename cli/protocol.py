"""Options for a protocol and its data, and their evaluation, shared by `vedette compare` and `vedette tune`."""

from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pyarrow as pa

    from models.compare.source import Case
    from models.compare.spec import Simulated, Spec
    from producers.converter import RejectedRow

PROTOCOL = typer.Option(
    "handbook",
    "--protocol",
    metavar="handbook|ulb|attacks|FILE",
    help="protocol of the comparison, or a custom TOML file",
)
TRANSACTIONS = typer.Option(
    [], "--transactions", metavar="FILE", help="files of transactions, the oldest first (repeat it)"
)
TRAINING = typer.Option(None, "--train", metavar="FILE", help="for a table: the training rows")
CACHE = typer.Option(Path("var/compare"), "--cache", metavar="DIR", help="folder of cached features and results")
THREADS = typer.Option(2, "--threads", min=1, help="threads of one training")
SEED = typer.Option(0, "--seed", min=0, help="seed of everything random")
JSON = typer.Option(False, "--json", help="end with one line of JSON")


def cases_of(
    known: "Spec", transactions: list[Path], train_start: str, training: Path | None, test: Path | None, cache: Path
) -> "list[Case]":
    """Return the folds or the split of a protocol, from the given files or the protocol's own."""
    if known.kind == "stream":
        return _stream(known, transactions, train_start, cache)
    return _table(known, training, test)


def _stream(known: "Spec", transactions: list[Path], train_start: str, cache: Path) -> "list[Case]":
    from features.backfill import backfill
    from features.catalogue import NAMES, catalogue_hash
    from models.compare import source
    from models.protocol import Protocol
    from producers.simulation import SCENARIOS
    from vedette.clock import parse_time

    simulated = None if transactions or known.files else known.simulated
    if simulated is None:
        files = transactions or [_first(known)]
        origin, batches = source.file_digest(files), partial(_batches, files, known.mapping)
    else:
        origin, batches = repr((simulated, SCENARIOS)), partial(_simulated, simulated)
    data = source.digest(origin.encode(), catalogue_hash().encode(), known.mapping.encode())
    folder = cache / "features" / data[:16]
    frame = source.kept(folder)
    if frame is None:
        frame = source.keep(folder, backfill(batches()), NAMES)
    lengths = known.folds
    protocol = Protocol(
        training=lengths.training, delay=lengths.delay, test=lengths.test, folds=lengths.number, history=0
    )
    days = tuple(train_start.split(",")) if train_start else lengths.starts
    return source.stream_cases(frame, protocol, tuple(parse_time(day) for day in days), data)


def _table(known: "Spec", training: Path | None, test: Path | None) -> "list[Case]":
    import pyarrow.parquet as pq

    from models.compare import source
    from vedette.errors import InputError

    if known.columns is None:
        raise InputError("a protocol of kind table needs [columns]", remedy="name time, amount and label there")
    if test and not training:
        raise InputError("--test requires --train", remedy="name both files")
    files = [training or _first(known), *([test] if test else [])]
    data = source.file_digest(files)
    frame = source.table(files, known.columns)
    judged = pq.read_metadata(test).num_rows if test else round(len(frame) * known.test_share)
    return [source.table_case(frame, judged, data)]


def _first(known: "Spec") -> Path:
    from vedette.errors import InputError

    for file in known.files:
        if Path(file).exists():
            return Path(file)
    raise InputError(
        f"the data of the protocol is at none of: {', '.join(known.files) or '(no file named)'}",
        remedy="name it with --transactions FILE, or --train FILE for a table",
    )


def _simulated(known: "Simulated") -> "Iterator[pa.RecordBatch]":
    import msgspec

    from producers.simulation import Simulation
    from producers.simulator import simulate

    return _counted(simulate(Simulation(**msgspec.structs.asdict(known))))


def _counted(batches: "Iterable[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
    from cli.progress import bars

    with bars() as bar:
        show, done = bar("features", None), 0
        for batch in batches:
            yield batch
            done += len(batch)
            show(done)


def _batches(files: list[Path], mapping: str) -> "Iterator[pa.RecordBatch]":
    from producers.files import read_batches
    from producers.mapping import load_mapping
    from vedette.errors import InputError

    def refuse(reject: "RejectedRow") -> None:
        raise InputError(
            f"row {reject.line}, column {reject.column}: {reject.value!r} {reject.reason}",
            remedy="features can only be compared if no transaction is missing",
        )

    return _counted(chain.from_iterable(read_batches(file, load_mapping(mapping), on_reject=refuse) for file in files))
