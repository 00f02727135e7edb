"""The demo's customers: told by SMS, they answer on the real pages; a fraud they deny, anything else they approve."""

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

from alerts.audit import open_audit
from alerts.mfa.bootstrap import wire
from alerts.notify.bootstrap import stderr_log
from stack.sms import Sms, SmsSink
from vedette import Settings, SystemClock
from vedette.money import format_amount

PREFIX = "+346"
"""All their numbers, and nobody else's, begin like this."""

_HIDDEN = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)"')
_AMOUNT = re.compile(r'class="amount">([^<]*)<')
_LINK = re.compile(r"http\S+/c/\S+")
_CODE = re.compile(r"\d{4} \d{4}")
_AT_ONCE = 4
_YOURS_S = 60.0
_TIMEOUT_S = 10.0

Invite = Callable[[str, str], None]
"""Told of a page's link and the code for it, which are left to the person who watches."""


class Customers:
    """Answers in threads of its own, until closed.

    Args:
        enrol: Takes over an account's phone number.
        invite: Told of one message at a time, which is left alone for a minute; None: none is.
        hurry: When set, nobody waits for that person any more.
        say: Told when a customer is refused, which is no customer's fault.
    """

    def __init__(
        self, enrol: Callable[[str, str], None], invite: Invite | None, hurry: Event, say: Callable[[str], None]
    ) -> None:
        self._enrol = enrol
        self._invite = invite
        self._hurry = hurry
        self._say = say
        self._invited = Event()
        self._phones: dict[str, str] = {}
        self._frauds: set[tuple[str, str]] = set()
        self._threads = ThreadPoolExecutor(_AT_ONCE, "customer")

    def meet(self, payments: Iterable[tuple[str, int, str, bool | None]]) -> None:
        """Get to know payments before they are made, and enrol accounts that are new.

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

    def told(self, message: Sms) -> None:
        """Take a message; whatever is not for a customer is left alone."""
        if message.to.startswith(PREFIX):
            self._threads.submit(self._answer, message)

    def close(self) -> None:
        """Stop answering."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _answer(self, message: Sms) -> None:
        link, code = _LINK.search(message.body), _CODE.search(message.body)
        if link is None or code is None:
            return
        invite = None if self._hurry.is_set() or self._invited.is_set() else self._invite
        if invite:
            self._invited.set()
            invite(link[0], code[0])
            self._hurry.wait(_YOURS_S)
            self._invited.clear()
        # Each customer comes from an address of their own, as behind a proxy, or they would look like one guesser.
        digits = message.to[-6:]
        address = f"10.{int(digits[:2])}.{int(digits[2:4])}.{int(digits[4:])}"
        browser = build_opener(HTTPCookieProcessor(CookieJar()))

        def post(url: str, **fields: str) -> str:
            request = Request(url, urlencode(fields).encode(), {"X-Forwarded-For": address})  # noqa: S310, our own page
            with browser.open(request, timeout=_TIMEOUT_S) as answer:
                return str(answer.read().decode())

        base = link[0].partition("/c/")[0]
        try:
            page = post(link[0])
            fields, amount = dict(_HIDDEN.findall(page)), _AMOUNT.search(page)
            if "shown" not in fields or amount is None:
                return  # settled already
            if (message.to, amount[1]) in self._frauds:
                post(f"{base}/challenge/deny", csrf=fields["csrf"])
            else:
                post(f"{base}/challenge/answer", **fields | {"value": code[0]})
        except HTTPError as error:
            if not (invite and error.code == HTTPStatus.NOT_FOUND):  # the person who watches may have used the link
                self._say(f"a customer was refused: {error}")
        except OSError:
            return  # nobody answers, and the challenge will expire


@contextmanager
def answering(
    settings: Settings, sms: SmsSink, invite: Invite | None, hurry: Event, say: Callable[[str], None]
) -> Iterator[Customers]:
    """Customers who answer whatever the SMS endpoint gets for them; see Customers."""
    clock = SystemClock()
    with (
        open_audit(settings.audit, clock, "demo") as audit,
        wire(settings, clock=clock, entropy=os.urandom, audit=audit, log=stderr_log()) as wired,
    ):
        customers = Customers(lambda account, phone: wired.enrolment.vouch(account, phone=phone), invite, hurry, say)
        sms.on_sms = customers.told
        try:
            yield customers
        finally:
            sms.on_sms = None
            customers.close()
