"""Passkeys (WebAuthn level 2), verified by the `webauthn` library."""

import hmac
from dataclasses import dataclass
from typing import Any

import msgspec
import webauthn
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url, decode_credential_public_key
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.decoded_public_key_to_cryptography import decoded_public_key_to_cryptography
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    UserVerificationRequirement,
)

from challenges.records import Passkey

_ALGORITHMS = [COSEAlgorithmIdentifier.ECDSA_SHA_256, COSEAlgorithmIdentifier.RSASSA_PKCS1_v1_5_SHA_256]
"""Algorithms of authenticators in practice. Ed25519 is left out, because it accepts keys of low order."""

_RSA_BITS, _RSA_EXPONENT = range(2048, 4097), 65_537  # NIST SP 800-131A, FIPS 186-5
_REQUIRED = UserVerificationRequirement.REQUIRED


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """The institution as relying party of passkeys.

    Args:
        name: Name shown by authenticators.
        rp_id: The host name they are bound to.
        origin: Scheme, host and port of the pages.
    """

    name: str
    rp_id: str
    origin: str


def creation_options(
    passkeys: tuple[Passkey, ...], user: bytes, challenge: bytes, party: RelyingParty
) -> dict[str, Any]:
    """Return the options for navigator.credentials.create(); `user` is a random handle, never the account."""
    options = webauthn.generate_registration_options(
        rp_id=party.rp_id,
        rp_name=party.name,
        user_name=party.name,
        user_id=user,
        challenge=challenge,
        supported_pub_key_algs=_ALGORITHMS,
        authenticator_selection=AuthenticatorSelectionCriteria(user_verification=_REQUIRED),
        exclude_credentials=_descriptors(passkeys),
    )
    return _plain(options)


def request_options(passkeys: tuple[Passkey, ...], challenge: bytes, party: RelyingParty) -> dict[str, Any]:
    """Return the options for navigator.credentials.get()."""
    options = webauthn.generate_authentication_options(
        rp_id=party.rp_id,
        challenge=challenge,
        allow_credentials=_descriptors(passkeys),
        user_verification=_REQUIRED,
    )
    return _plain(options)


def registration(credential: str, challenge: bytes, party: RelyingParty, now: int) -> Passkey | None:
    """Return the passkey of a registration, or None if it does not verify."""
    try:
        verified = webauthn.verify_registration_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=party.rp_id,
            expected_origin=party.origin,
            require_user_verification=True,
            supported_pub_key_algs=_ALGORITHMS,
        )
        _check_usable(verified.credential_public_key)
    except Exception:  # noqa: BLE001, the library and its CBOR reader raise any kind of error for untrusted input
        return None
    return Passkey(
        credential_id=bytes_to_base64url(verified.credential_id),
        public_key=bytes_to_base64url(verified.credential_public_key),
        sign_count=verified.sign_count,
        added_at=now,
    )


def assertion(
    credential: str, passkeys: tuple[Passkey, ...], challenge: bytes, party: RelyingParty
) -> tuple[Passkey, ...] | None:
    """Return the passkeys after one of them has signed the challenge, with its count updated; None if none has."""
    try:
        claimed = str(msgspec.json.decode(credential, type=dict[str, Any]).get("id", ""))
        for place, passkey in enumerate(passkeys):
            if hmac.compare_digest(passkey.credential_id.encode(), claimed.encode("utf-8", "replace")):
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
    except Exception:  # noqa: BLE001, as above, and also for a key that is stored and cannot be used
        return None
    return None


def _check_usable(public_key: bytes) -> None:
    """Raise ValueError for a key that cannot verify a signature, or whose signatures can be forged."""
    key = decoded_public_key_to_cryptography(decode_credential_public_key(public_key))  # refuses points off the curve
    if isinstance(key, RSAPublicKey) and (key.key_size not in _RSA_BITS or key.public_numbers().e != _RSA_EXPONENT):
        raise ValueError("an RSA key that is weak, or slow to verify")


def _descriptors(passkeys: tuple[Passkey, ...]) -> list[PublicKeyCredentialDescriptor]:
    return [PublicKeyCredentialDescriptor(id=base64url_to_bytes(passkey.credential_id)) for passkey in passkeys]


def _plain(options: Any) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.json.decode(webauthn.options_to_json(options))
    return plain
