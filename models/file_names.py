"""Names of the files of a model folder."""

BOOSTER, CONTRACT, BASELINE = "model.txt", "contract.json", "baseline.json"
