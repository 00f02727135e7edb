"""Proof of a decision for a page: in a process of its own, since it replays everything before the payment."""

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from vedette.settings import Settings

if TYPE_CHECKING:
    from features.backfill import Backfill
    from streams.history.prove import Proof

KIND = "proof"


def prove_payment(settings: Settings, transaction: str, _now: int) -> "list[Proof]":
    """Return the proofs of the decisions on payments of an id, one for each account that used it.

    Raises:
        InputError: A file of [archive] history cannot be read.
        UnavailableError: The archive or the registry does not answer.
    """
    # A process that shows pages needs neither the archive's extra nor the kernels.
    from archive.evidence import evidence, labels_before, transactions_before  # noqa: PLC0415
    from archive.past import control_records  # noqa: PLC0415
    from archive.search import Archive, Question  # noqa: PLC0415
    from streams.history.proofs import prove_decisions  # noqa: PLC0415

    start = _loaded(settings) if settings.archive.history else None
    with Archive(settings.archive) as archive:
        found = evidence(archive, Question(transaction=transaction))
        if not len(found.payments):
            return []
        changes, labels = control_records(archive), labels_before(archive, found)
        return list(prove_decisions(settings, changes, found, labels, transactions_before(archive, found), start))


_states: "dict[tuple[str, ...], Backfill]" = {}
"""The state that a history leaves, by its files: computed once in the process."""


def _loaded(settings: Settings) -> "Backfill":
    from features.identity import identity_of  # noqa: PLC0415
    from features.loaded import loaded_state  # noqa: PLC0415
    from producers.files import read_batches  # noqa: PLC0415
    from producers.mapping import load_mapping  # noqa: PLC0415

    own = settings.archive
    files = tuple(own.history)
    if files not in _states:
        known = load_mapping(own.history_mapping)
        batches = chain.from_iterable(read_batches(Path(file), known, on_reject=lambda _: None) for file in files)
        _states[files] = loaded_state(
            batches, label_delay=settings.features.label_delay, identity=identity_of(settings.identity),
            labels=Path(own.history_labels) if own.history_labels else None,
        )  # fmt: skip
    return _states[files]
