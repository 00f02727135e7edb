"""Passkeys of an account: what verifies is added once, and no more than ten."""

import hashlib
import json
import os
from dataclasses import dataclass, replace
from typing import cast

import pytest
from webauthn.helpers import bytes_to_base64url, encode_cbor

from alerts.mfa.enrolment import Enrolment
from alerts.mfa.keyring import Keyring
from alerts.mfa.limits import Limiter
from alerts.mfa.passkeys import Party
from alerts.mfa.records import Account
from alerts.mfa.store import Store
from tests.mfa.conftest import ORIGIN, Dial, Notes

CHALLENGE = b"c" * 32
PARTY = Party("Vedette", "localhost", ORIGIN)
PRESENT, VERIFIED, NEW = 0x01, 0x04, 0x40


def registered(credential_id: bytes, challenge: bytes = CHALLENGE, flags: int = PRESENT | VERIFIED | NEW) -> str:
    """What a browser sends for a new passkey without attestation (WebAuthn level 2, 5.2.1), which nothing signs."""
    key = encode_cbor({1: 2, 3: -7, -1: 1, -2: b"x" * 32, -3: b"y" * 32})  # COSE: EC2, ES256, P-256
    data = hashlib.sha256(PARTY.rp_id.encode()).digest() + bytes([flags]) + bytes(4)
    data += bytes(16) + len(credential_id).to_bytes(2, "big") + credential_id + key
    client = {"type": "webauthn.create", "challenge": bytes_to_base64url(challenge), "origin": PARTY.origin}
    name = bytes_to_base64url(credential_id)
    response = {
        "clientDataJSON": bytes_to_base64url(json.dumps(client).encode()),
        "attestationObject": bytes_to_base64url(encode_cbor({"fmt": "none", "attStmt": {}, "authData": data})),
    }
    return json.dumps({"id": name, "rawId": name, "type": "public-key", "response": response})


@pytest.fixture
def enrolment(store: Store, keys: Keyring, dial: Dial, notes: Notes) -> Enrolment:
    """Enrolment over each Redis, of what needs no SMS."""
    return Enrolment(store, keys, PARTY, Limiter(store, keys), lambda *_: False, dial, os.urandom, notes)


def test_added_once(enrolment: Enrolment, notes: Notes) -> None:
    """A passkey that is there already is refused, and the audit log tells of the one change there was."""
    assert enrolment.add_passkey("a-1", registered(b"one"), CHALLENGE)
    assert not enrolment.add_passkey("a-1", registered(b"one"), CHALLENGE)
    assert [each.credential_id for each in enrolment.account("a-1").passkeys] == [bytes_to_base64url(b"one")]
    assert notes.lines == [("enrolment.changed", "a-1", {"what": "passkey"})]


def test_no_more_than_ten(enrolment: Enrolment) -> None:
    """The eleventh is refused."""
    added = [enrolment.add_passkey("a-1", registered(bytes([number])), CHALLENGE) for number in range(11)]
    assert added == [True] * 10 + [False]
    assert len(enrolment.account("a-1").passkeys) == 10


@pytest.mark.parametrize(
    "credential",
    [
        registered(b"one", challenge=b"d" * 32),
        registered(b"one", flags=PRESENT | NEW),
        "",
        "{}",
    ],
    ids=["of another challenge", "its holder not verified", "empty", "no registration"],
)
def test_what_does_not_verify_is_not_added(enrolment: Enrolment, credential: str) -> None:
    """Nothing changes."""
    assert not enrolment.add_passkey("a-1", credential, CHALLENGE)
    assert enrolment.account("a-1").passkeys == ()


def test_two_registrations_at_once(enrolment: Enrolment) -> None:
    """What another process added between the look and the write is looked at again."""

    @dataclass(frozen=True, slots=True)
    class Meanwhile:
        """A store that another process writes to just before the first write."""

        store: Store
        credentials: list[bytes]

        def account(self, account_id: str) -> Account:
            return self.store.account(account_id)

        def replace_account(self, before: Account, after: Account) -> bool:
            while self.credentials:
                assert enrolment.add_passkey("a-1", registered(self.credentials.pop()), CHALLENGE)
            return self.store.replace_account(before, after)

    slow = replace(enrolment, store=cast("Store", Meanwhile(enrolment.store, [b"one"])))
    assert not slow.add_passkey("a-1", registered(b"one"), CHALLENGE)
    slow = replace(enrolment, store=cast("Store", Meanwhile(enrolment.store, [bytes([number]) for number in range(9)])))
    assert not slow.add_passkey("a-1", registered(b"two"), CHALLENGE)
    assert len(enrolment.account("a-1").passkeys) == 10
