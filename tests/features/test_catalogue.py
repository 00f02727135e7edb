"""The catalogue and its page in the manual."""

import math
from pathlib import Path

import msgspec
import pytest

from features import catalogue
from features.catalogue import CATALOGUE, NAMES, catalogue_hash
from features.reference import find, reference
from tests.features.oracle import Payment
from tests.features.streams import START, through_kernel
from vedette.errors import InputError

PAGE = Path(__file__).parents[2] / "docs" / "features.md"


def test_page_is_up_to_date() -> None:
    """docs/features.md is what `vedette features docs` prints."""
    assert PAGE.read_text(encoding="utf-8") == reference()


def test_page_has_a_whole_row_for_every_feature() -> None:
    """No feature is left out of the page, and no text in it breaks the table."""
    rows = [line for line in reference().splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == list(NAMES)
    assert {row.count("|") for row in rows} == {7}


def test_names_are_unique() -> None:
    """Every feature has a name of its own."""
    assert len(set(NAMES)) == len(NAMES)


def test_every_reason_reads_with_any_value() -> None:
    """A reason's template takes any number and leaves no brace behind."""
    for feature in CATALOGUE:
        for value in (0.0, 1.5, -2e9, math.inf):
            assert not set("{}") & set(feature.reason.format(value=value, span="8 hours")), feature.name


def test_only_features_that_say_so_are_missing() -> None:
    """A first payment that tells nothing of itself has NaN exactly where the catalogue says that one can be."""
    features = through_kernel([Payment("t", "a", START, 100)], 1).features[0]
    missing = {name for name, value in zip(NAMES, features, strict=True) if math.isnan(value)}
    assert missing == {f.name for f in CATALOGUE if f.missing.startswith(("NaN", "as distance_km"))}


def test_hash_follows_names_order_and_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another order, another version or one feature less is another hash; a clearer wording is the same."""
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
    """Every name finds its feature; another one is refused with the nearest."""
    assert tuple(find(name) for name in NAMES) == CATALOGUE
    with pytest.raises(InputError, match=r"no feature 'account_cout_1d' . perhaps account_count_1d or"):
        find("account_cout_1d")
