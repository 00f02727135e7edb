"""What a worker loads when it starts."""

import subprocess
import sys

SLOW = ("fastapi", "lightgbm", "sklearn", "pandas", "scipy.stats", "duckdb", "dask", "matplotlib")
"""Packages that scoring does not need, and that take seconds to import."""


def test_a_worker_starts_without_what_it_does_not_need() -> None:
    """Neither the wiring nor a loaded model and policy, with one payment decided, imports a slow package."""
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from decisions.rollout import Rollout\n"
        "from streams.bootstrap import load_strategy\n"
        "from streams.warmup import keep_pandas_out, warm_up\n"
        "from vedette.settings import DecisionSettings\n"
        "keep_pandas_out()\n"
        "shipped = DecisionSettings()\n"
        "warm_up(Rollout(load_strategy(shipped.model_folder, shipped.policy_file)))\n"
        f"print(*(name for name in {SLOW!r} if name in sys.modules))\n"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []
