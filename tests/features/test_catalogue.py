"""The catalogue and its page in the manual."""

import math
from pathlib import Path

import msgspec
import pytest

from features import catalogue
from features.backfill import Backfill
from features.catalogue import CATALOGUE, LIVE, NAMES, SETTLED, catalogue_hash, hash_for
from features.reference import find, reference
from tests.features.oracle import Payment
from tests.features.streams import START, batch_of
from vedette.errors import InputError

PAGE = Path(__file__).parents[2] / "docs" / "features.md"


def test_page_is_up_to_date() -> None:
    """docs/features.md is what `vedette features docs` prints."""
    assert PAGE.read_text(encoding="utf-8") == reference()


def test_page_has_a_whole_row_for_every_feature() -> None:
    """No feature is left out of the page, and no text in it breaks the table."""
    rows = [line for line in reference().splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == list(NAMES)
    assert {row.count("|") for row in rows} == {8}


def test_names_are_unique() -> None:
    """Every feature has a unique name."""
    assert len(set(NAMES)) == len(NAMES)


def test_every_reason_reads_with_any_value() -> None:
    """A reason's template accepts any number and leaves no brace behind."""
    for feature in CATALOGUE:
        for value in (0.0, 1.5, -2e9, math.inf):
            assert not set("{}") & set(feature.reason.format(value=value, span="8 hours")), feature.name


def test_only_features_that_say_so_are_missing() -> None:
    """A first payment without optional fields has NaN exactly where the catalogue allows it."""
    features = Backfill().advance(batch_of([Payment("t", "a", START, 100)]))[0]
    missing = {name for name, value in zip(NAMES, features, strict=True) if math.isnan(value)}
    assert missing == {f.name for f in CATALOGUE if f.missing.startswith(("NaN", "as distance_km"))}


def test_hash_follows_names_order_and_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another order, another version or a missing feature changes the hash; a clearer wording does not."""
    first, *others = CATALOGUE
    computed = catalogue_hash.__wrapped__  # what it remembers is of the catalogue that ships
    hashes = {computed()}
    for changed in ((*others, first), (msgspec.structs.replace(first, version=2), *others), tuple(others)):
        monkeypatch.setattr(catalogue, "CATALOGUE", changed)
        hashes.add(computed())
    assert len(hashes) == 4
    monkeypatch.setattr(catalogue, "CATALOGUE", (msgspec.structs.replace(first, meaning="said otherwise"), *others))
    assert computed() in hashes


def test_a_feature_is_found_by_its_name() -> None:
    """Every name finds its feature; an unknown name is refused with the nearest one."""
    assert tuple(find(name) for name in NAMES) == CATALOGUE
    with pytest.raises(InputError, match=r"no feature 'account_cout_1d' . perhaps account_count_1d or"):
        find("account_cout_1d")


def test_a_model_without_live_features_depends_on_the_others_alone() -> None:
    """The hash of a model's contract covers the live features only if it uses one of them."""
    assert hash_for(SETTLED) == hash_for(("hour",)) != catalogue_hash()
    assert hash_for(("hour", next(iter(LIVE)))) == hash_for(NAMES) == catalogue_hash()
