"""The decision gateway: payments in by HTTP, and the worker's decision out while the payer waits.

It does not score: a payment is published like any other, and the answer is the decision that the worker publishes.
Entry point: `bootstrap.run`. `vedette.client` asks.
"""
