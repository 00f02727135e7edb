"""Benchmarks: every performance claim of Vedette, measured together with its references in the same run."""
