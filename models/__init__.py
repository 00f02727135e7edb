"""Models: training, evaluation, the model folder with its contract, scoring and explanation.

To score: `models.scorer.load_scorer(folder)` and `models.explain.reasons(scorer, rows)`. To train:
`models.frame.collect`, `models.evaluate`, `models.train`, `models.folder.save`. Nothing is imported here, so that a
command that only reads the registry does not wait for the training libraries.
"""
