"""Passkeys (WebAuthn level 2), verified by the `webauthn` library."""

import hmac
from dataclasses import dataclass
from typing import Any

import msgspec
import webauthn
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    UserVerificationRequirement,
)

from alerts.mfa.records import Passkey

_REQUIRED = UserVerificationRequirement.REQUIRED


@dataclass(frozen=True, slots=True)
class Party:
    """Who the institution is to passkeys.

    Args:
        name: As an authenticator shows it.
        rp_id: The host name they are bound to.
        origin: Scheme, host and port of the pages.
    """

    name: str
    rp_id: str
    origin: str


def creation_options(passkeys: tuple[Passkey, ...], user: bytes, challenge: bytes, party: Party) -> dict[str, Any]:
    """What the page hands to navigator.credentials.create(); `user` is a random handle, never the account."""
    options = webauthn.generate_registration_options(
        rp_id=party.rp_id,
        rp_name=party.name,
        user_name=party.name,
        user_id=user,
        challenge=challenge,
        authenticator_selection=AuthenticatorSelectionCriteria(user_verification=_REQUIRED),
        exclude_credentials=_descriptors(passkeys),
    )
    return _plain(options)


def request_options(passkeys: tuple[Passkey, ...], challenge: bytes, party: Party) -> dict[str, Any]:
    """What the page hands to navigator.credentials.get()."""
    options = webauthn.generate_authentication_options(
        rp_id=party.rp_id,
        challenge=challenge,
        allow_credentials=_descriptors(passkeys),
        user_verification=_REQUIRED,
    )
    return _plain(options)


def registration(credential: str, challenge: bytes, party: Party, now: int) -> Passkey | None:
    """The passkey that a registration brings, or None if it does not verify."""
    try:
        verified = webauthn.verify_registration_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=party.rp_id,
            expected_origin=party.origin,
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError):
        return None
    return Passkey(
        credential_id=bytes_to_base64url(verified.credential_id),
        public_key=bytes_to_base64url(verified.credential_public_key),
        sign_count=verified.sign_count,
        added_at=now,
    )


def assertion(
    credential: str, passkeys: tuple[Passkey, ...], challenge: bytes, party: Party
) -> tuple[Passkey, ...] | None:
    """The passkeys after one of them has signed the challenge, its count moved on; None if none has."""
    try:
        claimed = str(msgspec.json.decode(credential, type=dict[str, Any]).get("id", ""))
        for place, passkey in enumerate(passkeys):
            if hmac.compare_digest(passkey.credential_id.encode(), claimed.encode()):
                verified = webauthn.verify_authentication_response(
                    credential=credential,
                    expected_challenge=challenge,
                    expected_rp_id=party.rp_id,
                    expected_origin=party.origin,
                    credential_public_key=base64url_to_bytes(passkey.public_key),
                    credential_current_sign_count=passkey.sign_count,
                    require_user_verification=True,
                )
                used = msgspec.structs.replace(passkey, sign_count=verified.new_sign_count)
                return (*passkeys[:place], used, *passkeys[place + 1 :])
    except (WebAuthnException, ValueError):  # what is no JSON is a ValueError, too
        return None
    return None


def _descriptors(passkeys: tuple[Passkey, ...]) -> list[PublicKeyCredentialDescriptor]:
    return [PublicKeyCredentialDescriptor(id=base64url_to_bytes(passkey.credential_id)) for passkey in passkeys]


def _plain(options: Any) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.json.decode(webauthn.options_to_json(options))
    return plain
