"""The form of addresses that are passed to a mail server or to Twilio."""

import re

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
# One dot-atom at one host name (RFC 5322 3.2.3). Quoted local parts, comments and lists are left out on purpose: what
# separates addresses for one mail program would cut an address in half for another.
_EMAIL = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*")
_LONGEST_EMAIL = 254  # RFC 5321 4.5.3.1.3, without the brackets
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")


def is_email_address(text: str) -> bool:
    """Return whether a text is one plain e-mail address."""
    return len(text) <= _LONGEST_EMAIL and _EMAIL.fullmatch(text) is not None


def is_phone_number(text: str) -> bool:
    """Return whether a text is a phone number in E.164, such as +14155550123."""
    return _E164.fullmatch(text) is not None
