"""Settings of the console's sign-in by the institution's identity provider."""

from typing import Annotated

import msgspec
from msgspec import Meta

from vedette.settings_base import Secret, Section


class OidcSettings(Section, frozen=True):
    """`[oidc]`: sign-in to the console by an OpenID Connect provider, such as Keycloak, Entra ID or Okta."""

    issuer: Annotated[
        str, Meta(description="URL of the issuer, as its discovery document gives it; empty: only local accounts")
    ] = ""
    name: Annotated[str, Meta(description="name of the provider, shown on the sign-in page")] = "single sign-on"
    client_id: Annotated[str, Meta(description="the console's client id at the provider")] = ""
    client_secret: Annotated[
        Secret | None, Meta(description="the console's client secret; not set: a public client, by PKCE alone")
    ] = None
    scopes: Annotated[list[str], Meta(description="scopes asked for, `openid` among them")] = msgspec.field(
        default_factory=lambda: ["openid", "profile"]
    )
    name_claim: Annotated[str, Meta(description="claim that becomes the user name, up to an @")] = "preferred_username"
    groups_claim: Annotated[
        str, Meta(description="claim that holds the groups, of the ID token or of userinfo; dots lead into objects")
    ] = "groups"
    groups: Annotated[
        dict[str, str], Meta(description="role by group; of several groups of a person the first one here counts")
    ] = msgspec.field(default_factory=dict)
    ca_file: Annotated[
        str, Meta(description="file with the authorities of the provider's certificate; empty: the public ones")
    ] = ""
    proxy: Annotated[str, Meta(description="URL of the proxy between the console and the provider; empty: none")] = ""
