"""The messenger: tells customers by SMS that they are asked, with a code where that is the factor, and by e-mail.

No code is kept in the clear, so a message is never repeated: a second one has another code, and voids the first. What
may have gone (a time-out, a crash) is looked up before any second send.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from threading import Event
from typing import Any

from alerts.incidents.routing import Target
from alerts.mfa.challenges import Challenges
from alerts.mfa.engine import SENDS, Secrets, State
from alerts.mfa.limits import Limit, Limiter
from alerts.mfa.records import Account, Record
from alerts.mfa.words import say
from alerts.notify.channel import Channel, Permanent, Question, Retry, Sent
from alerts.notify.message import SMS_LIMIT, Message, gsm, printable, reference_of
from vedette.clock import HOUR, SECOND
from vedette.errors import UnavailableError
from vedette.money import format_amount
from vedette.settings import Secret

_AT_ONCE = 4
_PAUSE_S = 0.1
_CLAIM_MS = 20 * SECOND
"""Longer than a send takes; after it another look is taken at what became of it."""

_RETRY_MS = 5 * SECOND
_PAYEE_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Fence:
    """The guard against SMS pumping.

    Args:
        prefixes: Beginnings of the only numbers that get an SMS.
        cap: SMS in an hour to the numbers of one prefix.
        each: SMS in an hour to one number, and to one account.
    """

    prefixes: tuple[str, ...]
    cap: int
    each: int

    def prefix(self, phone: str) -> str | None:
        """The longest prefix of the list that a number has; None if it has none."""
        return max((each for each in self.prefixes if phone.startswith(each)), key=len, default=None)


class Messenger:
    """Works through the queue of customers to be told.

    Args:
        challenges: The service.
        sms: The SMS channel; None: customers are not told by SMS.
        email: The e-mail channel for notices; None: no notices.
        limiter: Counts messages.
        fence: Guard against SMS pumping.
        public_url: Where the pages are.
        name: The institution's, as customers know it.
        log: A structlog logger.
    """

    def __init__(
        self, challenges: Challenges, *, sms: Channel | None, email: Channel | None, limiter: Limiter, fence: Fence,
        public_url: str, name: str, log: Any,
    ) -> None:  # fmt: skip
        self._challenges = challenges
        self._sms = sms
        self._email = email
        self._limiter = limiter
        self._fence = fence
        self._url = public_url.rstrip("/")
        self._name = name
        self._log = log

    def run(self, stop: Event) -> None:
        """Work until told to stop; what is being sent then is finished."""
        asyncio.run(self._run(stop))

    async def _run(self, stop: Event) -> None:
        while not stop.is_set():
            try:
                worked = await self.step()
            except UnavailableError as error:
                self._log.warning("customers not told", reason=str(error))
                worked = False
            if not worked:
                await asyncio.sleep(_PAUSE_S)

    async def step(self) -> bool:
        """Tell those whose turn it is; whether there was anybody."""
        challenges = self._challenges
        due = challenges.store.due("tell", challenges.clock.now_ms(), _AT_ONCE)
        await asyncio.gather(*(self._tell(challenge_id) for challenge_id in due))
        return bool(due)

    async def send_code(self, account: Account, phone: str, code: str, reference: str) -> bool:
        """Send a code to a number that an account's holder is to have; whether it may have gone."""
        return await self._send_once(account, phone, reference, "sms_verify", code=_grouped(code))

    async def send_link(self, account: Account, url: str, reference: str) -> bool:
        """Send the link to the page of call checks, never a code; whether it may have gone."""
        return await self._send_once(account, account.phone, reference, "sms_call", link=url)

    async def _send_once(self, account: Account, phone: str, reference: str, words: str, **values: str) -> bool:
        if not self._sms or self._refusal(phone, account.account_id):
            return False
        text = gsm(say(account.language, words, name=self._name, **values)) + f" {reference_of(reference)}"
        sent = await self._sms.send(self._message(reference, text), _target(phone))
        return not isinstance(sent, Permanent | Retry)

    async def _tell(self, challenge_id: str) -> None:
        challenges = self._challenges
        state = challenges.get(challenge_id)
        if state is None or state.record.status != "issued" or state.record.told not in ("pending", "sending"):
            challenges.store.forget("tell", [challenge_id])
            return
        if state.record.told == "sending" and await self._has_gone(state):
            challenges.end_telling(state.record, "sent")
            return
        if state.record.sends >= SENDS:
            challenges.end_telling(state.record, "failed")
            return
        claimed = challenges.begin_telling(challenge_id, challenges.clock.now_ms() + _CLAIM_MS)
        if claimed is None:
            return
        state, secrets = claimed
        if state.record.sends == 1:
            await self._notice(state)
        await self._send(state, secrets)

    async def _has_gone(self, state: State) -> bool:
        """Whether the message before is at the provider.

        Raises:
            UnavailableError: It does not say, so nothing may be sent yet.
        """
        phone = state.account.phone
        if not self._sms or not phone:
            return False
        message = self._message(_reference(state.record), "")
        return bool(await self._sms.find([Question(message, _target(phone), state.record.issued_at)]))

    async def _send(self, state: State, secrets: Secrets) -> None:
        record, phone = state.record, state.account.phone
        if not phone or not self._sms:
            self._challenges.end_telling(record, "sent" if self._email and state.account.email else "failed")
            return
        if reason := self._refusal(phone, record.binding.account_id):
            self._settle(record, "failed", reason)
            return
        message = self._message(_reference(record), self._words(state, secrets))
        sent = await self._sms.send(message, _target(phone))
        now = self._challenges.clock.now_ms()
        if isinstance(sent, Sent):
            self._settle(record, "sent", sent.provider_id)
        elif isinstance(sent, Permanent):
            self._settle(record, "failed", sent.code)
        else:
            after = max(_RETRY_MS, sent.after_ms if isinstance(sent, Retry) else 0)
            self._log.warning("customer not told yet", challenge_id=record.challenge_id, code=sent.code)
            self._challenges.end_telling(record, "sending", now + after)

    def _settle(self, record: Record, told: Any, detail: str) -> None:
        self._challenges.end_telling(record, told)
        self._challenges.audit.record(f"customer.{told}", record.challenge_id, {"detail": detail})
        self._log.info("customer told", challenge_id=record.challenge_id, told=told, detail=detail)

    async def _notice(self, state: State) -> None:
        """The e-mail: a notice without code or link. It may get lost; nothing depends on it."""
        address = state.account.email
        if not self._email or not address:
            return
        language = state.account.language
        text = say(language, "email_text", name=self._name, amount=_amount(state.record))
        message = Message(
            key=state.record.challenge_id,
            channel="email",
            recipient=state.record.binding.account_id,
            reference=reference_of(state.record.challenge_id),
            created_at=state.record.issued_at,
            subject=say(language, "email_subject", name=self._name),
            text=text,
            html=f"<p>{escape(text)}</p>",
        )
        if not isinstance(await self._email.send(message, _target(address)), Sent):
            self._log.warning("notice not sent", challenge_id=state.record.challenge_id)

    def _refusal(self, phone: str, account_id: str) -> str:
        """Why no SMS is sent to a number; empty if it is."""
        prefix, now = self._fence.prefix(phone), self._challenges.clock.now_ms()
        if prefix is None:
            return "prefix not allowed"
        for limit, what in self._limits(prefix, phone, account_id):
            if not self._limiter.allows(limit, what, now):
                return f"limit per {limit.name}"
        return ""

    def _limits(self, prefix: str, phone: str, account_id: str) -> Iterator[tuple[Limit, str]]:
        yield Limit("phone", self._fence.each, HOUR), phone
        yield Limit("account", self._fence.each, HOUR), account_id
        yield Limit("prefix", self._fence.cap, HOUR), prefix

    def _words(self, state: State, secrets: Secrets) -> str:
        """At most two segments; amount, payee, code and link are always whole but for a very long payee."""
        record, language = state.record, state.account.language
        values = {
            "name": self._name,
            "amount": _amount(record),
            "payee": printable(record.binding.payee)[:_PAYEE_SHOWN],
            "link": f"{self._url}/c/{secrets.token}",
        }
        key, code = ("sms_code", {"code": _grouped(secrets.code)}) if secrets.code else ("sms_ask", {})
        return f"{gsm(say(language, key, **values, **code))[: SMS_LIMIT - 11]} {reference_of(_reference(record))}"

    def _message(self, reference: str, text: str) -> Message:
        return Message(
            key=reference,
            channel="sms",
            recipient="customer",
            reference=reference_of(reference),
            created_at=self._challenges.clock.now_ms(),
            text=text,
        )


def _reference(record: Record) -> str:
    """Names one telling of one challenge, the same before and after a crash."""
    return f"{record.challenge_id}/{record.sends}"


def _target(address: str) -> Target:
    return Target(Secret(address), None)


def _amount(record: Record) -> str:
    return format_amount(record.binding.amount, printable(record.binding.currency))


def _grouped(code: str) -> str:
    return f"{code[:4]} {code[4:]}"
