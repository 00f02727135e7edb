"""The references of the benchmarks: a naive worker, Quix Streams, and the bare calls as a lower bound."""
