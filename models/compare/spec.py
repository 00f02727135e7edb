"""A comparison as a file: the data, the folds, the entries, the published figures."""

from pathlib import Path
from typing import Literal

import msgspec

from models.zoo.entry import ModelEntry
from vedette.errors import InputError
from vedette.text import read_text

KNOWN = ("handbook", "ulb", "attacks")


class TableColumns(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The meaning of a table's columns; all others are features. Time is in seconds."""

    time: str
    amount: str
    label: str


class Folds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lengths in days, and the days on which training starts; by default the last `number` folds that fit."""

    training: int = 7
    delay: int = 7
    test: int = 7
    number: int = 4
    starts: tuple[str, ...] = ()


class Simulated(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Payments of `vedette simulate` with all scenarios."""

    customers: int = 5_000
    terminals: int = 10_000
    days: int = 90
    seed: int = 0


class Published(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row of the literature."""

    model: str
    auc: float | None = None
    ap: float | None = None
    cp100: float | None = None


class Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A comparison.

    Attributes:
        kind: `stream` is transactions that go through the feature kernel and the folds of the handbook; `table` is rows
            whose features are already computed, the last share of which in time is the test.
        about: A one-sentence description.
        files: Files that are looked for, in this order, when the command names none.
        mapping: The mapping with which the files of a stream are read.
        simulated: Payments to simulate, for a stream, when neither the command nor `files` names any.
        columns: The columns of a table.
        folds: The folds of a stream.
        test_share: Share of the rows that form the test, for a table without a separate test file.
        contact_cost: Minor units that a false alarm costs.
        entries: The entries to compare.
        published: Published results to show next to them.
    """

    kind: Literal["stream", "table"]
    description: str = ""
    files: tuple[str, ...] = ()
    mapping: str = ""
    simulated: Simulated | None = None
    columns: TableColumns | None = None
    folds: Folds = Folds()
    test_share: float = 0.2
    contact_cost: int = 500
    entries: tuple[ModelEntry, ...] = ()
    published: tuple[Published, ...] = ()


def load(name: str) -> Spec:
    """Return the comparison of this name, or in this file.

    Raises:
        InputError: There is no such file, or it is not valid.
    """
    path = Path(__file__).parent / f"{name}.toml" if name in KNOWN else Path(name)
    try:
        return msgspec.toml.decode(read_text(path), type=Spec)
    except InputError as error:
        raise InputError(
            f"protocol {name!r}: {error.args[0]}", remedy=error.remedy or f"name {', '.join(KNOWN)} or a TOML file"
        ) from error
    except msgspec.MsgspecError as error:
        raise InputError(f"protocol {path}: {error}", remedy="see docs/models.md for its layout") from error


def narrow(spec: Spec, models: tuple[str, ...], *, deep: bool) -> tuple[ModelEntry, ...]:
    """Return the entries of these models, or all but the deep ones if none is named.

    Raises:
        InputError: The protocol has no entry of a model that was asked for.
    """
    from models.zoo.fit import DEEP  # noqa: PLC0415 - the libraries of the zoo take seconds to load

    if not models:
        return tuple(entry for entry in spec.entries if deep or (entry.model not in DEEP and entry.imbalance != "gan"))
    known = {entry.model for entry in spec.entries}
    for model in models:
        if model not in known:
            raise InputError(f"the protocol has no entry for {model!r}", remedy=f"choose among {', '.join(known)}")
    return tuple(entry for entry in spec.entries if entry.model in models)
