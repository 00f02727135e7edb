"""Connections to public addresses only, for URLs that somebody else has chosen.

A name is resolved once, its addresses are checked, and the connection goes to a checked one: a name that resolves
differently the second time (DNS rebinding) changes nothing.
"""

import asyncio
import ipaddress
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult

from vedette.errors import InputError

_LONGEST_URL = 2048
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")  # IPv4 behind NAT64 (RFC 6052)
# Only this part of IPv6 is global unicast (IANA, RFC 4291 2.5.4); ipaddress calls all that is not private global, such
# as ::127.0.0.1, ::ffff:0:127.0.0.1 and the site-local fec0::1.
_UNICAST = ipaddress.ip_network("2000::/3")
_DOCUMENTED = ipaddress.ip_network("3fff::/20")  # for examples (RFC 9637), which Python knows since 3.13
_RELAYED = ipaddress.ip_network("192.88.99.0/24")  # the nearest 6to4 relay, whose it may be (RFC 7526)
_NAMES_AT_ONCE = 128


class PrivateAddressError(OSError):
    """A host is, or resolves to, an address that is not public."""


def is_public(address: str) -> bool:
    """Return whether an IP address is one of the public Internet, also where it stands for an IPv4 address."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if found in _TRANSLATED:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        return found in _UNICAST and found not in _DOCUMENTED and found.is_global
    return found.is_global and not found.is_multicast and found not in _RELAYED


def check_url(url: str, *, allow_private: bool) -> None:
    """Check the form of a URL, without resolving its name.

    Args:
        url: An absolute URL.
        allow_private: Whether plain HTTP and private addresses are allowed.

    Raises:
        InputError: It is not a URL, has user or fragment, is not HTTPS, or names a private address.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise InputError(f"{url[:100]!r} is not a URL: {error}") from error
    schemes = ("https", "http") if allow_private else ("https",)
    if (
        parts.scheme not in schemes
        or not host
        or len(url) > _LONGEST_URL
        or not url.isascii()
        or not url.isprintable()
        or " " in url
    ):
        raise InputError(
            f"{url[:100]!r} is not a URL of {' or '.join(schemes)}", remedy="write it like https://bank.example/hooks"
        )
    if "@" in parts.netloc or "#" in url:
        raise InputError("a webhook's URL has neither user nor fragment", remedy="requests are signed instead")
    if not allow_private and _is_literal(host) and not is_public(host):
        raise InputError(
            f"{host} is not a public address", remedy="[webhooks] allow_private permits addresses of your own network"
        )


def check_host(url: str) -> None:
    """Check a URL whose host is an IP address, which no resolver sees.

    Raises:
        PrivateAddressError: It is not public.
    """
    host = urlsplit(url).hostname or ""
    if _is_literal(host) and not is_public(host):
        raise PrivateAddressError(f"{host} is not a public address")


class PublicResolver(AbstractResolver):
    """Resolves names of which every address is public, for a connector of aiohttp without a cache.

    Its threads are its own: a name server that does not answer keeps one of them busy, and nothing else waiting.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_NAMES_AT_ONCE, "names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a name.

        Raises:
            PrivateAddressError: One of them is not public.
            OSError: It does not resolve.
        """
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM)
        )
        addresses = [(each_family, str(address[0]), int(address[1])) for each_family, *_, address in found]
        if not all(is_public(address) for _, address, _ in addresses):
            raise PrivateAddressError(f"{host} resolves to an address that is not public")
        return [
            ResolveResult(
                hostname=host, host=address, port=number, family=each_family, proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for each_family, address, number in addresses
        ]  # fmt: skip

    async def close(self) -> None:
        """Let go of the threads; one whose name server does not answer ends when that gives up."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
