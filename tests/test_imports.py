"""What a command imports before it does anything: large libraries only where it uses them."""

import subprocess
import sys

import pytest

LARGE = ("fastapi", "lightgbm", "numba", "pandas", "polars", "redis", "sklearn", "sqlalchemy")


@pytest.mark.parametrize(
    ("module", "needed"),
    [
        ("cli.main", ()),
        ("features.catalogue", ()),
        ("access.keyring", ()),
        ("decisions.policy_file", ("numba", "polars")),
        ("vedette.client", ()),
    ],
)
def test_a_module_loads_no_library_that_it_does_not_use(module: str, needed: tuple[str, ...]) -> None:
    """Commands of which only such modules are used answer at once."""
    code = f"import sys, {module}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert set(LARGE) & set(loaded) <= set(needed)
