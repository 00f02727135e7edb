"""The name of a channel, and a recipient's address on it."""

from typing import Literal

import msgspec

from vedette.settings_base import Secret

ChannelName = Literal["email", "sms", "whatsapp", "webhook", "sns", "apprise"]


class Target(msgspec.Struct, frozen=True):
    """A recipient's address, and the key that signs a webhook; never printed, since an address may contain a token."""

    to: Secret
    key: Secret | None
