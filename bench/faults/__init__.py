"""Faults done to real workers, brokers and Redis servers, and what each changed: for tests and `bench faults`."""
