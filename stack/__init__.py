"""The local stack: broker, Redis, mail sink and SMS endpoint as child processes."""
