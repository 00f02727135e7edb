"""Fault injection into real workers, brokers and Redis servers, with its effects: for tests and `bench faults`."""
