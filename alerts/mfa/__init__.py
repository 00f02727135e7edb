"""The challenge service: asks the customer about a payment, takes the answer, and settles it once.

Kafka → `service` → `engine` (what may happen, pure) → `store` (in one atomic step) → Kafka; `web` is the app that
customers and the institution talk to; `bootstrap` wires the real parts.
"""
