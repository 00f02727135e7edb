"""Which addresses a URL of somebody else's choice may lead to."""

import asyncio
import socket
import threading
from typing import Any

import aiohttp
import pytest

from adapters.public_addresses import PrivateAddressError, PublicResolver, check_host, check_url, is_public
from tests.serving import listening
from vedette.errors import InputError


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.1.2.3", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.1.2.3",
        "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fd00::1", "ff02::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::",
        "2001:0:4136:e378:8000:63bf:80ff:fffe", "2001:db8::1", "192.0.2.1", "198.18.0.1", "::7f00:1", "::ffff:0:7f00:1",
        "64:ff9b:1::7f00:1", "fec0::1", "3fff::1", "5f00::1", "4000::1", "192.88.99.1", "240.0.0.1",
    ],
)  # fmt: skip
def test_addresses_of_this_machine_and_of_private_networks_are_not_public(address: str) -> None:
    """This includes addresses written in another form, and those that stand for another address."""
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    """This includes IPv4 addresses written as IPv6."""
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "", "bank.example", "ftp://bank.example", "http://bank.example", "https://", "https:///x", "file:///etc/passwd",
        "https://user:word@bank.example", "https://bank.example/#x", "https://127.0.0.1/", "https://[::1]/",
        "https://[::ffff:127.0.0.1]/", "https://[::127.0.0.1]/", "https://[fec0::1]/", "https://[::1%25lo]/",
        "https://169.254.169.254/latest", "https://bank.example:99999/",
        "https://bänk.example/", "https://bank.example/\n", " https://bank.example/", "https://bank.example/a b",
        "https://bank.example/" + "x" * 3000, "https://[::1",
    ],
)  # fmt: skip
def test_urls_that_are_not_public_https_are_refused(url: str) -> None:
    """The reason names what is wrong."""
    with pytest.raises(InputError):
        check_url(url, allow_private=False)


def test_private_urls_are_taken_where_they_are_allowed() -> None:
    """Plain HTTP and loopback are for tests and private networks; other schemes are still refused."""
    check_url("http://127.0.0.1:8080/hooks", allow_private=True)
    check_url("https://bank.example/hooks?tenant=1", allow_private=False)
    with pytest.raises(InputError, match="not a URL of https or http"):
        check_url("gopher://127.0.0.1", allow_private=True)


@pytest.mark.parametrize("host", ["localhost", "127.1", "0x7f.1", "2130706433", "017700000001"])
def test_no_name_leads_to_this_machine(host: str) -> None:
    """A name that resolves to a private address is refused, and nothing is contacted."""
    contacted: list[object] = []

    async def post(port: int) -> None:
        connector = aiohttp.TCPConnector(resolver=PublicResolver(), use_dns_cache=False)
        async with aiohttp.ClientSession(connector=connector) as session:
            await session.post(f"http://{host}:{port}/")

    with listening() as (listener, address):
        listener.setblocking(False)
        with pytest.raises((aiohttp.ClientConnectorError, aiohttp.InvalidURL)) as refused:
            asyncio.run(post(int(address.rpartition(":")[2])))
        with pytest.raises(BlockingIOError):
            contacted.append(listener.accept())
    assert not contacted
    if host == "localhost":
        assert isinstance(refused.value, aiohttp.ClientConnectorError)
        assert isinstance(refused.value.os_error, PrivateAddressError)


def test_a_silent_name_server_holds_up_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of somebody's own choice may never resolve; meanwhile other names do, and other threads work."""
    resolve, released = socket.getaddrinfo, threading.Event()

    def slow(host: str, *arguments: Any) -> Any:
        if host == "slow.example":
            released.wait(60)
        return resolve("8.8.8.8", *arguments)

    monkeypatch.setattr(socket, "getaddrinfo", slow)

    async def ask() -> None:
        resolver = PublicResolver()
        waiting = [asyncio.create_task(resolver.resolve("slow.example", 443)) for _ in range(60)]
        async with asyncio.timeout(30):
            await asyncio.sleep(0)
            assert await asyncio.to_thread(lambda: "done") == "done"
            assert [each["host"] for each in await resolver.resolve("quick.example", 443)] == ["8.8.8.8"]
        assert not any(task.done() for task in waiting)
        released.set()
        await asyncio.gather(*waiting)
        await resolver.close()

    try:
        asyncio.run(ask())
    finally:
        released.set()


def test_an_address_in_the_url_itself_is_looked_at() -> None:
    """An address needs no resolver."""
    check_host("https://8.8.8.8/")
    check_host("https://bank.example/")
    for url in ("http://127.0.0.1:1/", "http://[::1]/"):
        with pytest.raises(PrivateAddressError):
            check_host(url)
