from typing import Any

import pytest

from alerts.notify.bootstrap import check
from vedette.errors import SettingsError
from vedette.settings import NotifySettings, Secret

GOOD: dict[str, Any] = {
    "email_to": ["fraud@bank.example"],
    "sms_to": ["+14155550101"],
    "sms_from": "+14155550100",
    "twilio_account_sid": "AC1",
    "twilio_auth_token": Secret("token"),
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sms_to": [], "sms_from": "", "twilio_auth_token": None},
        {"email_to": []},
        {"twilio_base_url": "https://relay.example/twilio"},
        {"twilio_base_url": "http://127.0.0.1:8080"},
        {"smtp_username": "u", "smtp_host": "mail.example"},
        {"smtp_username": "u", "smtp_host": "localhost", "smtp_starttls": False},
    ],
)
def test_settings_that_can_send_are_accepted(changes: dict[str, Any]) -> None:
    """One channel is enough, and this machine needs no TLS."""
    check(NotifySettings(**GOOD | changes))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"email_to": [], "sms_to": []}, "names nobody"),
        ({"email_to": ["fraud"]}, "'fraud'"),
        ({"email_to": ["fraud@bänk.example"]}, "'fraud@bänk.example'"),
        ({"email_to": ["a@b.example\n"]}, "not an e-mail address"),
        ({"email_from": "me"}, "'me'"),
        ({"sms_to": ["0415 555"]}, "'0415 555'"),
        ({"sms_from": ""}, "sms_from"),
        ({"twilio_account_sid": ""}, "twilio_account_sid"),
        ({"twilio_auth_token": None}, "twilio_auth_token"),
        ({"twilio_base_url": "http://relay.example"}, "in the clear"),
        ({"twilio_base_url": "http://127.0.0.1@relay.example"}, "in the clear"),
        ({"twilio_base_url": "relay"}, "in the clear"),
        ({"smtp_username": "u", "smtp_host": "mail.example", "smtp_starttls": False}, "in the clear"),
    ],
)
def test_settings_that_cannot_send_safely_are_refused(changes: dict[str, Any], named: str) -> None:
    """Nothing starts that could not send, or that would send a secret in the clear; the message says what is wrong."""
    with pytest.raises(SettingsError, match=named):
        check(NotifySettings(**GOOD | changes))
