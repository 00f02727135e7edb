"""Readers of past topics: feature log, dead letters, trials, model monitoring and what-if. Workers do not use them."""
