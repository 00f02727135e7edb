"""Entries of authenticator apps."""

from urllib.parse import parse_qs, unquote, urlsplit

from challenges.enrolment import Enrolment
from tests.challenges.conftest import PARTY


def test_each_enrolment_has_an_entry_of_its_own_that_names_no_account(enrolment: Enrolment) -> None:
    """Two accounts, or one account twice, get entries with different names, none of which contains the account."""
    accounts = ("account-1", "account-2", "account-2")
    entries = [enrolment.begin_totp(enrolment.trusted(account, "")) for account in accounts]
    labels = [label for _, _, label in entries]
    assert len(set(labels)) == len(labels)
    for account, (uri, secret, label) in zip(accounts, entries, strict=True):
        shown = urlsplit(uri)
        assert unquote(shown.path).rpartition(":")[2] == label
        assert {key: values[0] for key, values in parse_qs(shown.query).items()} == {
            "secret": secret,
            "issuer": PARTY.name,
        }
        assert account not in unquote(uri)
