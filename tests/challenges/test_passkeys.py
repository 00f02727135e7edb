"""Passkeys of an account: what verifies is added once, and at most ten are kept."""

import hashlib
import json
from dataclasses import dataclass, replace
from typing import cast

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from webauthn.helpers import bytes_to_base64url, encode_cbor

from challenges.enrolment import Enrolment
from challenges.records import Account, Passkey
from challenges.store import ChallengeStore
from tests.challenges.conftest import PARTY, Notes

CHALLENGE = b"c" * 32
PRESENT, VERIFIED, NEW = 0x01, 0x04, 0x40


def ec_key(x: bytes = b"", y: bytes = b"") -> bytes:
    """Return a public key on P-256 in COSE, or one with these coordinates."""
    numbers = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
    return encode_cbor({1: 2, 3: -7, -1: 1, -2: x or numbers.x.to_bytes(32), -3: y or numbers.y.to_bytes(32)})


def rsa_key(bits: int, exponent: int = 65_537) -> bytes:
    """Return an RSA key in COSE with an odd modulus of this length."""
    modulus = (1 << (bits - 1)) | 1
    return encode_cbor({1: 3, 3: -257, -1: modulus.to_bytes(bits // 8), -2: exponent.to_bytes(3)})


def registered(
    credential_id: bytes, challenge: bytes = CHALLENGE, flags: int = PRESENT | VERIFIED | NEW, key: bytes = b""
) -> str:
    """What a browser sends for a new passkey without attestation (WebAuthn level 2, 5.2.1), which nothing signs."""
    key = key or ec_key()
    data = hashlib.sha256(PARTY.rp_id.encode()).digest() + bytes([flags]) + bytes(4)
    data += bytes(16) + len(credential_id).to_bytes(2, "big") + credential_id + key
    client = {"type": "webauthn.create", "challenge": bytes_to_base64url(challenge), "origin": PARTY.origin}
    name = bytes_to_base64url(credential_id)
    response = {
        "clientDataJSON": bytes_to_base64url(json.dumps(client).encode()),
        "attestationObject": bytes_to_base64url(encode_cbor({"fmt": "none", "attStmt": {}, "authData": data})),
    }
    return json.dumps({"id": name, "rawId": name, "type": "public-key", "response": response})


def test_added_once(enrolment: Enrolment, notes: Notes) -> None:
    """An existing passkey is refused, and the audit log has only one change."""
    assert enrolment.add_passkey(enrolment.trusted("a-1", ""), registered(b"one"), CHALLENGE)
    assert not enrolment.add_passkey(enrolment.trusted("a-1", ""), registered(b"one"), CHALLENGE)
    assert [each.credential_id for each in enrolment.account("a-1").passkeys] == [bytes_to_base64url(b"one")]
    assert notes.lines == [("enrolment.changed", "account:a-1", {"what": "passkey"})]


def test_no_more_than_ten(enrolment: Enrolment) -> None:
    """The eleventh is refused."""
    added = [
        enrolment.add_passkey(enrolment.trusted("a-1", ""), registered(bytes([number])), CHALLENGE)
        for number in range(11)
    ]
    assert [bool(holder) for holder in added] == [True] * 10 + [False]
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
    assert not enrolment.add_passkey(enrolment.trusted("a-1", ""), credential, CHALLENGE)
    assert enrolment.account("a-1").passkeys == ()


@pytest.mark.parametrize(
    "key",
    [
        ec_key(x=b"x" * 32, y=b"y" * 32),
        ec_key(x=b"x"),
        rsa_key(512),
        rsa_key(2048, exponent=1),
        rsa_key(32_768),
        encode_cbor({1: 1, 3: -8, -1: 6, -2: bytes(32)}),
        encode_cbor({1: 2, 3: -7, -1: 99, -2: b"x" * 32, -3: b"y" * 32}),
        encode_cbor({1: 2, 3: "ES256", -1: [], -2: {}, -3: None}),
        encode_cbor({}),
        encode_cbor([1, 2]),
        b"\xff",
    ],
    ids=range(11),
)  # fmt: skip
def test_a_passkey_that_cannot_be_used_is_not_added(enrolment: Enrolment, key: bytes) -> None:
    """A key that never verifies, whose signatures can be forged, or that is invalid is refused at registration."""
    assert not enrolment.add_passkey(enrolment.trusted("a-1", ""), registered(b"one", key=key), CHALLENGE)
    assert enrolment.account("a-1").factors == ()


@pytest.mark.parametrize("key", [b"\xff", encode_cbor({1: 2}), ec_key(x=b"x" * 32, y=b"y" * 32)])
def test_a_stored_passkey_that_cannot_be_used_proves_nothing(enrolment: Enrolment, key: bytes) -> None:
    """A passkey that older rules accepted is a wrong answer, not an error."""
    stored = Passkey(credential_id="AA", public_key=bytes_to_base64url(key), sign_count=0, added_at=0)
    assert enrolment.store.replace_account(Account(account_id="a-1"), Account(account_id="a-1", passkeys=(stored,)))
    response = {"clientDataJSON": "AA", "authenticatorData": "AA", "signature": "AA"}
    claimed = json.dumps({"id": "AA", "rawId": "AA", "type": "public-key", "response": response})
    assert not enrolment.prove("a-1", "passkey", claimed, CHALLENGE)


def test_two_registrations_at_once(enrolment: Enrolment) -> None:
    """A passkey that another process adds between the check and the write is checked again."""

    @dataclass(frozen=True, slots=True)
    class Meanwhile:
        """A store that another process writes to just before the first write."""

        store: ChallengeStore
        credentials: list[bytes]

        def account(self, account_id: str) -> Account:
            return self.store.account(account_id)

        def replace_account(self, before: Account, after: Account) -> bool:
            while self.credentials:
                assert enrolment.add_passkey(
                    enrolment.trusted("a-1", ""), registered(self.credentials.pop()), CHALLENGE
                )
            return self.store.replace_account(before, after)

    slow = replace(enrolment, store=cast("ChallengeStore", Meanwhile(enrolment.store, [b"one"])))
    assert not slow.add_passkey(enrolment.trusted("a-1", ""), registered(b"one"), CHALLENGE)
    slow = replace(
        enrolment, store=cast("ChallengeStore", Meanwhile(enrolment.store, [bytes([number]) for number in range(9)]))
    )
    assert not slow.add_passkey(enrolment.trusted("a-1", ""), registered(b"two"), CHALLENGE)
    assert len(enrolment.account("a-1").passkeys) == 10
