"""The challenge service: asks the customer about a payment, takes the answer, and settles it once.

Kafka → `decision_consumer` → `state_machine` (transitions, pure) → `store` (one atomic step) → `outbox_relay` →
Kafka; `web` is the app for customers and the institution; `bootstrap` wires the parts.
"""
