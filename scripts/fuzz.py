"""Feeds the decoders and the state codec with what libFuzzer makes up; a crash, a hang or a broken promise ends it.

    scripts/fuzz.py [--seconds N] [TARGET …]

Targets are transactions, labels, activity, accounts and entities; without any, all take their turn for an equal share
of the time. What broke something is left in .fuzz/TARGET/, as are the inputs that reached something new, from which
the next run starts. Needs the extra `fuzz`: pip install -e '.[fuzz]'.
"""

import argparse
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import atheris
import numpy as np
import pyarrow as pa

from features.activity import of_payments
from features.backfill import Backfill
from features.catalogue import ENTITIES, NAMES
from features.columns import from_batch
from features.engine import advance_accounts, advance_entities, query_entities, slots
from features.signals import KINDS
from producers.poison import MOMENT, POISON, transaction
from producers.simulation import Simulation
from producers.simulator import simulate
from vedette.clock import DAY
from vedette.errors import StateError

with atheris.instrument_imports(include=["streams.decode", "streams.arrow"]):
    from features.identity import OPEN
    from features.transaction_schema import SCHEMA
    from streams.arrow import activity_by_partition, activity_in, read_activity
    from streams.decode import decode_labels, decode_transactions

# Kernels compiled for this check every index; they are kept apart from those for use.
CHECKED = {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": ".fuzz/numba"}
HANGS_AFTER_S = 10
MEMORY_MB = 4096
SHARE_OF_CORPUS = 0.5
LABEL = (
    b'{"transaction_id":"t","account_id":"a","fraud":true,"source":"s",'
    b'"event_time":1522540800000,"labelled_at":1522540800000}'
)
SLOT = np.zeros(1, np.int64)
EVERY_KIND = np.zeros((1, KINDS), np.int64)
PARTITIONS = 4
ROW = {
    "transaction_id": "t", "account_id": "a", "amount": 1, "currency": "EUR", "event_time": MOMENT, "merchant_id": "m",
}  # fmt: skip
PAYMENTS = from_batch(pa.RecordBatch.from_pylist([ROW], schema=SCHEMA))
ACTIVITY = of_payments(PAYMENTS, np.ones(1, np.uint8), np.zeros((1, len(ENTITIES)), np.uint8)).activity


def check_transactions(data: bytes) -> None:
    """Messages, one a line, become rows or rejects, one for one; what is read goes through the kernel."""
    messages = _records(data)
    read, rejects = decode_transactions(messages, DAY)
    assert len(read.batch) + len(rejects) == len(messages)  # noqa: S101 — a failure is what is looked for
    read.batch.validate(full=True)
    if len(read.batch):
        accounts, slot = slots(read.batch.column("account_id"))
        blobs = advance_accounts([None] * len(accounts), slot, from_batch(read.batch)).blobs
        advance_accounts(blobs, slot, from_batch(read.batch))


def check_labels(data: bytes) -> None:
    """Messages, one a line, become labels or rejects, one for one."""
    messages = _records(data)
    labels, kept, rejects = decode_labels(messages)
    assert len(labels) == len(kept) == len(messages) - len(rejects)  # noqa: S101 — a failure is what is looked for


def check_activity(data: bytes) -> None:
    """A message is activity, which the kernel takes, or is refused in the one way that the worker expects."""
    try:
        batch = read_activity(data, PARTITIONS, OPEN.fingerprint)
    except (pa.ArrowException, ValueError, OSError):
        return
    activity = activity_in(pa.Table.from_batches([batch]).combine_chunks())
    entities, slot = slots(activity.entity)
    advance_entities([None] * len(entities), slot, activity)


def check_accounts(data: bytes) -> None:
    """A blob is refused, or read; what is written then can be read again."""
    blob = data
    for _ in range(2):
        try:
            blob = advance_accounts([blob], SLOT, PAYMENTS).blobs[0]
        except StateError:
            assert blob is data, "its own blob is refused"  # noqa: S101 — a failure is what is looked for
            return


def check_entities(data: bytes) -> None:
    """Check the state of a merchant, device or address in the same way."""
    blob = data
    for _ in range(2):
        try:
            query_entities([blob], EVERY_KIND, PAYMENTS, np.empty((1, len(NAMES))))
            (blob,) = advance_entities([blob], SLOT, ACTIVITY)
        except StateError:
            assert blob is data, "its own blob is refused"  # noqa: S101 — a failure is what is looked for
            return


TARGETS: dict[str, Callable[[bytes], None]] = {
    "transactions": check_transactions,
    "labels": check_labels,
    "activity": check_activity,
    "accounts": check_accounts,
    "entities": check_entities,
}


class FuzzedRecord:
    """A message as the decoders take it."""

    key = None
    timestamp = MOMENT
    partition = 0

    def __init__(self, value: bytes, offset: int) -> None:
        self.value = value
        self.offset = offset


def _records(data: bytes) -> list[FuzzedRecord]:
    return [FuzzedRecord(value, offset) for offset, value in enumerate(data.split(b"\n"))]


def seeds(target: str) -> list[bytes]:
    """Valid examples, and known invalid ones."""
    match target:
        case "transactions":
            return [transaction(), transaction(payee="p", lat=1.5, balance=3, extra={"v": 1.0}), *_known_poison()]
        case "labels":
            return [LABEL, LABEL + b"\n" + LABEL, *_known_poison()]
        case "activity":
            number = np.ones(len(ACTIVITY.time), np.int64)
            partition = number.astype(np.int32)
            messages = activity_by_partition(
                ACTIVITY, partition, number, PARTITIONS, "transactions", 1_000_000, OPEN.fingerprint
            )
            return [message for batches in messages.values() for message in batches]
    history = Backfill()
    for batch in simulate(Simulation(customers=20, terminals=10, days=60, seed=1)):
        history.advance(batch)
    blobs = history.accounts.values() if target == "accounts" else history.entities.values()
    return list(blobs)


def _known_poison() -> list[bytes]:
    return [poison.value for poison in POISON if poison.value and len(poison.value) < 4096]


def run(target: str, seconds: int) -> None:
    """Fuzz one target; libFuzzer ends the process."""
    folder = Path(".fuzz") / target
    folder.mkdir(parents=True, exist_ok=True)
    known = seeds(target)
    for number, seed in enumerate(known):
        (folder / f"seed-{number}").write_bytes(seed)
        TARGETS[target](seed)  # compiles the kernels, which would be taken for a hang

    def mutate(data: bytes, largest: int, chance: int) -> bytes:
        """Begin now and then from what is valid: of compiled code libFuzzer does not learn what is new, and forgets."""
        dice = random.Random(chance)  # noqa: S311 — no secret
        base = data if len(data) > 1 and dice.random() < SHARE_OF_CORPUS else dice.choice(known)
        for _ in range(dice.randint(1, 4)):
            base = atheris.Mutate(base, largest)
        return base

    options = [
        f"-max_total_time={seconds}", f"-timeout={HANGS_AFTER_S}", f"-rss_limit_mb={MEMORY_MB}", "-max_len=8192",
        f"-artifact_prefix={folder}/", "-print_final_stats=1", "-verbosity=1", str(folder),
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *options], TARGETS[target], custom_mutator=mutate)
    atheris.Fuzz()


def main() -> int:
    """Run the targets, each in a process of its own, since libFuzzer ends the one it runs in."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=int, default=600, help="altogether; default: 600")
    chosen = parser.parse_args()
    targets = chosen.targets or list(TARGETS)
    if chosen.alone:
        run(targets[0], chosen.seconds)
    for target in targets:
        print(f"== {target}", flush=True)
        done = subprocess.run(
            [sys.executable, __file__, "--alone", target, "--seconds", str(chosen.seconds // len(targets))],
            env=os.environ | CHECKED,
            check=False,
        )
        if done.returncode:
            print(f"{target} failed; the input is in .fuzz/{target}/", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
