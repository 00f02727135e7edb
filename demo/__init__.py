"""The demo: the whole of Vedette on this machine, from the first transaction to the last SMS, with its totals checked.

Entry point: `demo.run.run_demo`, which takes DemoOptions and a Display and returns a Result.
"""
