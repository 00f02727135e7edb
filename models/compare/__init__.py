"""The comparison: every entry of a protocol on the same rows, beside what was published.

`spec.load` reads a protocol, `source` brings its data, `run.judge` measures one entry on one case, `report` draws it.
"""
