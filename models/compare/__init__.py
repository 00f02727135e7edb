"""The comparison: every entry of a protocol on the same rows, next to published results.

`spec.load` reads a protocol, `source` brings its data, `run.compare` evaluates every entry on every case, `report`
draws the results.
"""
