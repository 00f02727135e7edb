"""Producers: where transactions come from, simulated or replayed from files."""
