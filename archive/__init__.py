"""The archive: topics stored as Delta tables, with queries that join all tables per payment.

Entry points: `service.run` writes, `search.Archive` reads, `maintenance.compact` cleans up.
"""
