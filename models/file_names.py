"""Names of the files of a model folder, and the folder of a model that ships with Vedette."""

from pathlib import Path

BOOSTER, CONTRACT, BASELINE = "model.txt", "contract.json", "baseline.json"

SETTLED_MODEL = Path(__file__).parent / "settled"
"""The shipped model that reads no live feature: its decisions do not depend on how far behind the owners of merchants,
devices, addresses and payees are. Runs of the same payments can be compared bit for bit."""
