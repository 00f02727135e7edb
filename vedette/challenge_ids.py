"""Ids of challenges: derived from the payment, so that the id of its challenge is always known."""

import base64
import hashlib
import zlib

import msgspec

SHARDS = 16
"""Number of hash tags. An account and its challenges share one, so that one atomic step can write both."""


def shard_of(account_id: str) -> int:
    """Return the hash tag of an account."""
    return zlib.crc32(account_id.encode()) % SHARDS


def challenge_id_of(account_id: str, transaction_id: str) -> str:
    """Return the id of a transaction's challenge: always the same, so that one asked for twice is recognised.

    Its first digit is the account's hash tag; the rest is a hash (120 bits) that reveals nothing about the account.
    """
    digest = hashlib.sha256(b"challenge\0" + msgspec.json.encode([account_id, transaction_id])).digest()
    return f"{shard_of(account_id):x}" + base64.b32encode(digest[:15]).decode().lower()
