"""Benchmarks: every performance claim of Vedette, measured beside its references in the same run."""
