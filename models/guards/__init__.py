"""Guards before training: data that cannot be right, and knowledge that the model will not have in service.

`quality.check(batch table)` reports on the data; `leakage.check(frame, split)` refuses what leaks;
`boosting.check(...)` finds LightGBM's start that spoils rare positives.
"""
