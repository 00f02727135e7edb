"""A comparison as a file: the data, the folds, the entries, the published figures."""

from pathlib import Path
from typing import Literal

import msgspec

from models.zoo.entry import Entry
from vedette.errors import InputError

KNOWN = ("handbook", "ulb")


class Columns(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which columns of a table mean what; all others are features. Time is in seconds."""

    time: str
    amount: str
    label: str


class Folds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lengths in days, and the days on which training starts; without them the last `number` folds that fit."""

    training: int = 7
    delay: int = 7
    test: int = 7
    number: int = 4
    starts: tuple[str, ...] = ()


class Published(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row of the literature."""

    model: str
    auc: float | None = None
    ap: float | None = None
    cp100: float | None = None


class Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A comparison.

    Attributes:
        kind: `stream` are transactions that go through the feature kernel and the folds of the handbook; `table` has
            its features ready, and the last share of its rows in time is the test.
        about: One sentence.
        files: Looked for in this order when the command names none.
        mapping: How the files of a stream are to be read.
        columns: Of a table.
        folds: Of a stream.
        test_share: Of a table without a file for the test.
        contact_cost: Minor units that a false alarm costs.
        entries: What is compared.
        published: What stands beside it.
    """

    kind: Literal["stream", "table"]
    about: str = ""
    files: tuple[str, ...] = ()
    mapping: str = ""
    columns: Columns | None = None
    folds: Folds = Folds()
    test_share: float = 0.2
    contact_cost: int = 500
    entries: tuple[Entry, ...] = ()
    published: tuple[Published, ...] = ()


def load(name: str) -> Spec:
    """The comparison of this name, or of this file.

    Raises:
        InputError: There is no such file, or it is not valid.
    """
    path = Path(__file__).parent / f"{name}.toml" if name in KNOWN else Path(name)
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Spec)
    except OSError as error:
        raise InputError(
            f"protocol {name!r} cannot be read: {error.strerror}", remedy=f"name {', '.join(KNOWN)} or a TOML file"
        ) from error
    except msgspec.MsgspecError as error:
        raise InputError(f"protocol {path}: {error}", remedy="see docs/models.md for its layout") from error


def narrow(spec: Spec, models: tuple[str, ...], *, deep: bool) -> tuple[Entry, ...]:
    """The entries of these models, or all of them but the deep ones.

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
