"""Transactions from outside onto Kafka: simulated, replayed from files, or sent by a program.

Entry points: `simulator.simulate`, `files.read_batches`, `mapping.load_mapping`, `publisher.TransactionPublisher`,
`bootstrap.publish`; all use the canonical frame of `frame.SCHEMA`.
"""
