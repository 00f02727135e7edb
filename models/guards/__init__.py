"""Checks of a labelled file before anything is trained on it.

`quality.check(rows)` reports data that cannot be right. Leakage is refused where rows are split and trained on:
`models.leakage`, `models.boosting_start`.
"""
