"""The channels that a routing needs, made from the settings, which are checked first."""

from collections.abc import Callable, Iterator
from random import Random

from adapters.channels.addresses import is_email_address
from adapters.channels.apprise_urls import AppriseChannel
from adapters.channels.channel import Channel
from adapters.channels.sns import SnsChannel
from adapters.channels.target import ChannelName
from adapters.channels.twilio import TwilioChannel
from adapters.channels.webhook import WebhookChannel
from adapters.urls import is_loopback, may_carry_secrets
from alerts.notify.links import Linker
from vedette.clock import Clock
from vedette.errors import SettingsError
from vedette.settings import NotifySettings, Settings

_SHORTEST_KEY = 32


def open_channels(names: set[ChannelName], settings: Settings, clock: Clock) -> list[Channel]:
    """Return the channels of these names."""
    notify = settings.notify
    receipts_to = f"{notify.public_url.rstrip('/')}/twilio/status" if notify.public_url else ""
    makers: dict[ChannelName, Callable[[], Channel]] = {
        "email": lambda: _email(settings),
        "sms": lambda: TwilioChannel(
            "sms", settings.twilio, notify.sms_from, parallel=notify.parallel, receipts_to=receipts_to
        ),
        "whatsapp": lambda: TwilioChannel(
            "whatsapp", settings.twilio, notify.whatsapp_from, parallel=notify.parallel,
            content=notify.whatsapp_content, receipts_to=receipts_to,
        ),
        "webhook": lambda: WebhookChannel(notify.timeout_s, notify.parallel, clock),
        "sns": lambda: SnsChannel(notify.timeout_s, notify.parallel, notify.sns_endpoint),
        "apprise": lambda: AppriseChannel(notify.parallel),
    }  # fmt: skip
    return [make() for name, make in makers.items() if name in names]


def _email(settings: Settings) -> Channel:
    from adapters.channels.email import EmailChannel  # noqa: PLC0415, slow to import, and some deployments only use phones

    return EmailChannel(settings.smtp, settings.notify.email_from, settings.notify.parallel)


def open_linker(notify: NotifySettings, random: Random) -> Linker | None:
    """Return the linker, if there is a page and a key."""
    if not (notify.public_url and notify.link_key):
        return None
    return Linker(notify.public_url.rstrip("/"), notify.link_key, random)


def check_channels(settings: Settings, names: set[ChannelName]) -> None:
    """Refuse settings with which a channel could not send, or would send a secret in the clear.

    Raises:
        SettingsError: Names the key and the value.
    """
    for check in (_mail_problems, _twilio_problems, _url_problems, _link_problems):
        for error in check(settings, names):
            raise error


def _mail_problems(settings: Settings, names: set[ChannelName]) -> Iterator[SettingsError]:
    smtp, sender = settings.smtp, settings.notify.email_from
    if "email" not in names:
        return
    if smtp.username and not smtp.starttls and not is_loopback(smtp.host):
        yield SettingsError(
            f"[smtp] would send the password of {smtp.username!r} to {smtp.host} in the clear",
            remedy="set starttls = true",
        )
    if not is_email_address(sender):
        yield SettingsError(
            f"[notify] email_from {sender!r} is not an e-mail address", remedy="write it like fraud@example.com"
        )


def _twilio_problems(settings: Settings, names: set[ChannelName]) -> Iterator[SettingsError]:
    senders = {"sms": "sms_from", "whatsapp": "whatsapp_from"}
    for channel in names & senders.keys():
        needed = {
            f"[notify] {senders[channel]}": getattr(settings.notify, senders[channel]),
            "[twilio] account_sid": settings.twilio.account_sid,
            "[twilio] auth_token": settings.twilio.auth_token,
        }
        for key, value in needed.items():
            if not value:
                yield SettingsError(
                    f"{key} is not set, and the routing's {channel} recipients need it",
                    remedy="Twilio's console shows it",
                )


def _url_problems(settings: Settings, _: set[ChannelName]) -> Iterator[SettingsError]:
    urls = {
        "[twilio] base_url": settings.twilio.base_url,
        "[notify] sns_endpoint": settings.notify.sns_endpoint,
        "[notify] public_url": settings.notify.public_url,
    }
    for key, url in urls.items():
        if url and not may_carry_secrets(url):
            yield SettingsError(
                f"{key} {url!r} would carry secrets in the clear",
                remedy="use https:// (http:// is for this machine alone)",
            )


def _link_problems(settings: Settings, _: set[ChannelName]) -> Iterator[SettingsError]:
    notify = settings.notify
    if notify.public_url and not notify.link_key:
        yield SettingsError(
            "[notify] public_url is set, and link_key, which signs its links, is not",
            remedy="put at least 32 random characters in the file that link_key_file names",
        )
    if notify.link_key and len(notify.link_key.value) < _SHORTEST_KEY:
        yield SettingsError(
            f"[notify] link_key has fewer than {_SHORTEST_KEY} characters", remedy="take `openssl rand -hex 32`"
        )
