import sys
from importlib import import_module

import pytest

from adapters.extras import needs_extra, require_extra
from vedette.errors import UnavailableError

INSTALL = r"drawing needs the extra 'models', and {} is not installed — pip install 'vedette\[models\]'"


def test_a_missing_package_is_named_with_its_extra_before_any_work() -> None:
    """Checking does not import anything, and names the missing package, the extra and the command that installs it."""
    require_extra("models", "drawing", "json")
    with pytest.raises(UnavailableError, match=INSTALL.format("no_such_package")):
        require_extra("models", "drawing", "json", "no_such_package")


def test_a_package_that_is_blocked_counts_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that Python refuses to import is reported like one that is not there."""
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UnavailableError, match=INSTALL.format("optuna")):
        require_extra("models", "drawing", "optuna")


def test_an_import_that_fails_says_which_extra_brings_it() -> None:
    """An import within the block that finds no package raises the same error."""
    with pytest.raises(UnavailableError, match=INSTALL.format("no_such_package")), needs_extra("models", "drawing"):
        import_module("no_such_package")


def test_other_errors_pass_through() -> None:
    """Only a missing package is explained; any other error keeps its type."""
    with pytest.raises(ZeroDivisionError), needs_extra("models", "drawing"):
        _ = 1 / 0
