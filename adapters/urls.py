"""Checks of the addresses that may carry a secret."""

from urllib.parse import urlsplit

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def is_loopback(host: str | None) -> bool:
    """Return whether a host name or address is this machine."""
    return host in _LOOPBACK


def may_carry_secrets(url: str) -> bool:
    """Return whether a URL is encrypted (https) or stays on this machine (http to a loopback address)."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    if not parts.hostname:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname))
