"""The local stack: broker, Redis, mail sink and SMS endpoint as child processes; topics applied, health examined.

The door: `stack.local.LocalStack`, `stack.topics.apply` and `diff`, `stack.doctor.checks`.
"""
