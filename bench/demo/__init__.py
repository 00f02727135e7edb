"""The demo: the whole of Vedette on this machine, from the first transaction to the last SMS, and its sums checked.

The door: `bench.demo.run.run_demo`, which takes Options and a Screen and returns an Outcome.
"""
