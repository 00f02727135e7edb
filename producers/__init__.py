"""Transactions from outside onto Kafka: simulated, replayed from files, or sent by a program.

The door: `simulator.simulate`, `files.read_batches`, `mapping.load_mapping`, `publisher.Publisher`,
`bootstrap.publish`; they speak the canonical frame of `frame.SCHEMA`.
"""
