"""Simulated customers: they answer challenges on the real pages, deny frauds and approve everything else."""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http import HTTPStatus
from http.cookiejar import CookieJar
from threading import Event
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, Request, build_opener

from access.audit import open_audit
from adapters.logs import service_log
from challenges.bootstrap import wire
from stack.sms import Sms, SmsSink
from vedette import Settings, SystemClock
from vedette.money import format_amount

PREFIX = "+346"
"""Prefix of all their phone numbers, and of no others."""

_HIDDEN = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)"')
_AMOUNT = re.compile(r'class="amount">([^<]*)<')
_LINK = re.compile(r"http\S+/c/\S+")
_CODE = re.compile(r"\d{4} \d{4}")
_AT_ONCE = 4
_INVITED_S = 60.0
_TIMEOUT_S = 10.0

Invite = Callable[[str, str], None]
"""Callback that receives the link of a page and its code, left to the user of the demo."""


class SimulatedCustomers:
    """Answers in separate threads, until closed.

    Args:
        enrol: Called with an account and its phone number.
        invite: Called with one message at a time, which is then left to the user for a minute; None: every message is
            answered at once.
        stopping: When set, it no longer waits for the user.
        say: Called with a sentence when a page refuses a customer.
    """

    def __init__(
        self, enrol: Callable[[str, str], None], invite: Invite | None, stopping: Event, say: Callable[[str], None]
    ) -> None:
        self._enrol = enrol
        self._invite = invite
        self._stopping = stopping
        self._say = say
        self._invited = Event()
        self._phones: dict[str, str] = {}
        self._frauds: set[tuple[str, str]] = set()
        self._threads = ThreadPoolExecutor(_AT_ONCE, "customer")

    def register(self, payments: Iterable[tuple[str, int, str, bool | None]]) -> None:
        """Record payments before they are published, and enrol new accounts.

        Args:
            payments: Account, amount in minor units, currency, and whether it is fraud, if that is known.
        """
        for account, amount, currency, fraud in payments:
            phone = self._phones.get(account)
            if phone is None:
                phone = self._phones[account] = f"{PREFIX}{len(self._phones):08}"
                self._enrol(account, phone)
            if fraud:
                self._frauds.add((phone, format_amount(amount, currency)))

    def receive(self, message: Sms) -> None:
        """Answer a message in a thread; one that is not for a customer is ignored."""
        if message.to.startswith(PREFIX):
            self._threads.submit(self._answer, message)

    def close(self) -> None:
        """Stop answering, and wait for the answers in progress."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _answer(self, message: Sms) -> None:
        link, code = _LINK.search(message.body), _CODE.search(message.body)
        if link is None or code is None:
            return
        invite = None if self._stopping.is_set() or self._invited.is_set() else self._invite
        if invite:
            self._invited.set()
            invite(link[0], code[0])
            self._stopping.wait(_INVITED_S)
            self._invited.clear()
        # Each customer has a separate address, as behind a proxy; a shared one would look like guessing.
        digits = message.to[-6:]
        address = f"10.{int(digits[:2])}.{int(digits[2:4])}.{int(digits[4:])}"
        browser = build_opener(HTTPCookieProcessor(CookieJar()))

        def post(url: str, **fields: str) -> str:
            request = Request(url, urlencode(fields).encode(), {"X-Forwarded-For": address})  # noqa: S310, a page of this demo
            with browser.open(request, timeout=_TIMEOUT_S) as answer:
                return str(answer.read().decode())

        base = link[0].partition("/c/")[0]
        try:
            page = post(link[0])
            fields, amount = dict(_HIDDEN.findall(page)), _AMOUNT.search(page)
            if "shown" not in fields or amount is None:
                return  # already settled
            if (message.to, amount[1]) in self._frauds:
                post(f"{base}/challenge/deny", csrf=fields["csrf"])
            else:
                post(f"{base}/challenge/answer", **fields | {"value": code[0]})
        except HTTPError as error:
            if not (invite and error.code == HTTPStatus.NOT_FOUND):  # the user may have used the link
                self._say(f"a customer was refused: {error}")
        except OSError:
            return  # the page is not reachable, so the challenge will expire


@contextmanager
def answering(
    settings: Settings, sms: SmsSink, invite: Invite | None, stopping: Event, say: Callable[[str], None]
) -> Iterator[SimulatedCustomers]:
    """Run customers who answer the messages that the SMS endpoint receives for them; see SimulatedCustomers."""
    clock = SystemClock()
    with (
        open_audit(settings.audit, clock, "demo") as audit,
        wire(settings, clock=clock, entropy=os.urandom, audit=audit, log=service_log("customers")) as wired,
    ):
        enrolment = wired.enrolment

        def enrol(account_id: str, phone: str) -> None:
            enrolment.vouch(enrolment.trusted(account_id, ""), phone=phone)

        customers = SimulatedCustomers(enrol, invite, stopping, say)
        sms.on_sms = customers.receive
        try:
            yield customers
        finally:
            stopping.set()
            sms.on_sms = None
            customers.close()
