"""Guards before training: data that cannot be right, and knowledge that the model will not have in service.

`quality.check(batch table)` reports on the data; `leakage.check(frame, split)` refuses what leaks;
`boosting.check(parameters, labels)` refuses LightGBM's start, which spoils the ranking of rare frauds.
"""
