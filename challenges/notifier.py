"""Notifies customers of challenges: by SMS, with a code if that is the factor, and by e-mail.

Codes are not stored in plain text, so a message is never repeated: a second one has a new code, and voids the first. A
message that may have been sent (a time-out, a crash) is looked up before a second send.
"""

import asyncio
from html import escape
from threading import Event
from typing import Any

from adapters.channels.channel import Channel, ChannelDown, DoubtfulMessage, Permanent, Retry, Sent
from adapters.channels.message import SMS_LIMIT, Message, gsm, printable, reference_of, unlinked
from adapters.channels.target import Target
from adapters.http_server import Readiness
from challenges.challenges import Challenges
from challenges.metrics import ChallengeMetrics
from challenges.records import Account, ChallengeRecord, NotificationStatus
from challenges.sms_budget import Purpose, SmsBudget
from challenges.state_machine import SENDS, Secrets, State, to_be_notified
from challenges.words import say
from vedette.clock import SECOND
from vedette.errors import UnavailableError
from vedette.money import format_amount
from vedette.settings_base import Secret

NAME = "customer messages"

_AT_ONCE = 4
_IDLE_S = 0.5
"""Maximum delay until a message that is due again, or left by another process, is noticed."""

_CLAIM_MS = 20 * SECOND
"""Lease of a notification, longer than a send takes; afterwards its result is looked up."""

_RETRY_MS = 5 * SECOND
_PAYEE_SHOWN = 40


class ChallengeNotifier:
    """Works through the queue of customers to be notified.

    Args:
        challenges: The service.
        sms: The SMS channel; None: no SMS are sent.
        email: The e-mail channel for notices; None: no notices.
        budget: Limits of SMS.
        public_url: Public URL of the pages.
        name: Name of the institution, shown to customers.
        readiness: Records whether customers are notified.
        log: A structlog logger.
        metrics: Counts the messages.
    """

    def __init__(
        self, challenges: Challenges, *, sms: Channel | None, email: Channel | None, budget: SmsBudget,
        public_url: str, name: str, readiness: Readiness, log: Any, metrics: ChallengeMetrics | None = None,
    ) -> None:  # fmt: skip
        self._metrics = metrics or ChallengeMetrics()
        self._challenges = challenges
        self._sms = sms
        self._email = email
        self._budget = budget
        self._url = public_url.rstrip("/")
        self._name = name
        self._readiness = readiness
        self._log = log

    def run(self, stop: Event) -> None:
        """Work until stopped; messages being sent are finished."""
        with asyncio.Runner() as runner:
            while not stop.is_set():
                try:
                    worked = runner.run(self.step())
                    self._readiness.works(NAME)
                except UnavailableError as error:
                    self._readiness.wait(NAME, str(error))
                    self._log.warning("customers not notified", reason=str(error))
                    worked = False
                if not worked:
                    self._challenges.store.wait("notify", _IDLE_S)

    async def step(self) -> bool:
        """Notify the customers that are due; return whether there were any."""
        challenges = self._challenges
        due = challenges.store.due("notify", challenges.clock.now_ms(), _AT_ONCE)
        await asyncio.gather(*(self._notify(challenge_id) for challenge_id in due))
        return bool(due)

    async def send_code(self, account: Account, phone: str, code: str, reference: str) -> bool:
        """Send a code to a number to be verified; return whether it may have been sent."""
        return await self._send_once("enrolment", account, phone, reference, "sms_verify", code=_grouped(code))

    async def send_link(self, account: Account, url: str, reference: str) -> bool:
        """Send the link to the call check page, never a code; return whether it may have been sent."""
        return await self._send_once("call", account, account.phone, reference, "sms_call", link=url)

    async def _send_once(
        self, purpose: Purpose, account: Account, phone: str, reference: str, words: str, **values: str
    ) -> bool:
        if not self._sms:
            return False
        reserved = self._budget.reserve(purpose, account.account_id, phone)
        if reserved.refused:
            return False
        text = gsm(say(account.language, words, name=self._name, **values)) + f" {reference_of(reference)}"
        sent = await self._sms.send(self._message(reference, text), _target(phone))
        if isinstance(sent, Permanent | Retry | ChannelDown):
            self._budget.cancel(reserved)
            return False
        return True

    async def _notify(self, challenge_id: str) -> None:
        challenges = self._challenges
        state = challenges.get(challenge_id)
        if state is None or not to_be_notified(state.record):
            challenges.store.forget("notify", [challenge_id])
            return
        if state.record.notification == "sending" and await self._has_gone(state):
            challenges.end_notification(state.record, "sent")
            return
        if state.record.sends >= SENDS:
            challenges.end_notification(state.record, "failed")
            return
        claimed = challenges.begin_notification(challenge_id, challenges.clock.now_ms() + _CLAIM_MS)
        if claimed is None:
            return
        state, secrets = claimed
        noticed = await self._notice(state) if state.record.sends == 1 else False
        await self._send(state, secrets, noticed=noticed)

    async def _has_gone(self, state: State) -> bool:
        """Return whether the previous message is at the provider.

        Raises:
            UnavailableError: The provider does not answer, so nothing may be sent yet.
        """
        phone = state.account.phone
        if not self._sms or not phone:
            return False
        message = self._message(_reference(state.record), "")
        return bool(await self._sms.find([DoubtfulMessage(message, _target(phone), state.record.issued_at)]))

    async def _send(self, state: State, secrets: Secrets, *, noticed: bool) -> None:
        record, phone = state.record, state.account.phone
        if not phone or not self._sms:
            self._settle(record, "sent" if noticed else "failed", "e-mail" if noticed else "no way to send")
            return
        reserved = self._budget.reserve("challenge", record.binding.account_id, phone)
        if reserved.refused:
            self._settle(record, "failed", f"limit: {reserved.refused}")
            return
        message = self._message(_reference(record), self._words(state, secrets))
        sent = await self._sms.send(message, _target(phone))
        now = self._challenges.clock.now_ms()
        if isinstance(sent, Permanent | Retry | ChannelDown):
            self._budget.cancel(reserved)
        if isinstance(sent, Sent):
            self._settle(record, "sent", sent.provider_id)
        elif isinstance(sent, Permanent):
            self._settle(record, "failed", sent.code)
        else:
            after = max(_RETRY_MS, sent.after_ms if isinstance(sent, Retry) else 0)
            self._metrics.messages.labels("retried").inc()
            self._log.warning("customer not notified yet", challenge_id=record.challenge_id, code=sent.code)
            self._challenges.end_notification(record, "sending", now + after)

    def _settle(self, record: ChallengeRecord, status: NotificationStatus, detail: str) -> None:
        self._challenges.end_notification(record, status)
        self._metrics.messages.labels(status).inc()
        self._challenges.audit.record(f"notification.{status}", f"challenge:{record.challenge_id}", {"detail": detail})
        self._log.info("notification", challenge_id=record.challenge_id, status=status, detail=detail)

    async def _notice(self, state: State) -> bool:
        """Send the e-mail, a notice without code or link, and return whether the mail server accepted it."""
        address = state.account.email
        if not self._email or not address:
            return False
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
        if isinstance(await self._email.send(message, _target(address)), Sent):
            return True
        self._log.warning("notice not sent", challenge_id=state.record.challenge_id)
        return False

    def _words(self, state: State, secrets: Secrets) -> str:
        """Return at most two segments; amount, payee, code and link are whole, except for a very long payee."""
        record, language = state.record, state.account.language
        values = {
            "name": self._name,
            "amount": _amount(record),
            # Written in the alphabet of an SMS first: one character may become many, and the link must fit.
            "payee": unlinked(gsm(printable(record.binding.payee)))[:_PAYEE_SHOWN],
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


def _reference(record: ChallengeRecord) -> str:
    """Return the reference of one message about one challenge, stable across a crash."""
    return f"{record.challenge_id}/{record.sends}"


def _target(address: str) -> Target:
    return Target(Secret(address), None)


def _amount(record: ChallengeRecord) -> str:
    return format_amount(record.binding.amount, printable(record.binding.currency))


def _grouped(code: str) -> str:
    return f"{code[:4]} {code[4:]}"
