"""The local stack: broker, Redis, mail sink and SMS endpoint as child processes; topics and health checks.

Entry points: `stack.local.LocalStack`, `stack.topics.apply` and `diff`, `stack.doctor.checks`.
"""
