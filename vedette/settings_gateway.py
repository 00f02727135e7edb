"""Settings of the gateway and of what stands beside it."""

from typing import Annotated

import msgspec
from msgspec import Meta

from vedette.settings_base import Port, Secret, Section


class GatewaySettings(Section, frozen=True):
    """`[gateway]`: the HTTP API that answers with decisions."""

    host: Annotated[str, Meta(description="address to listen on")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="port of the API")] = 8480
    proxies: Annotated[list[str], Meta(description="addresses whose X-Forwarded-For is believed")] = msgspec.field(
        default_factory=lambda: ["127.0.0.1"]
    )
    certificate: Annotated[str, Meta(description="file with the server's certificate chain; empty: no TLS")] = ""
    certificate_key: Annotated[str, Meta(description="file with the certificate's private key")] = ""
    client_ca: Annotated[
        str, Meta(description="file with the authorities whose client certificates are required; empty: none is")
    ] = ""
    metrics_host: Annotated[str, Meta(description="address of the metrics")] = "127.0.0.1"
    metrics_port: Annotated[Port, Meta(description="port of the metrics; 0: any free one")] = 9465
    deadline_ms: Annotated[
        int, Meta(ge=1, le=2000, description="milliseconds until a provisional answer, where the caller names none")
    ] = 250
    in_flight: Annotated[
        int,
        Meta(
            ge=1,
            description="payments that wait at once; more are refused with 503, fewer while decisions come late",
        ),
    ] = 1000
    behind_s: Annotated[
        float, Meta(gt=0, description="while the oldest undecided payment is older, new ones are refused with 503")
    ] = 30.0
    payments_per_s: Annotated[int, Meta(ge=1, description="payments a second from one credential")] = 2000
    lookback_s: Annotated[
        int, Meta(ge=10, description="seconds for which a payment is recognised by its id, through restarts")
    ] = 900
    remember: Annotated[int, Meta(ge=1000, description="most payments recognised; each takes about a kilobyte")] = (
        300_000
    )


Code = Annotated[str, Meta(pattern=r"^[0-9A-Z]{2}$")]


class Iso8583Settings(Section, frozen=True):
    """`[iso8583]`: the gateway's listener for card switches; TLS is that of `[gateway]`."""

    host: Annotated[str, Meta(description="address to listen on")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="port of the listener; 0: there is none")] = 0
    peers: Annotated[list[str], Meta(description="addresses or networks from which switches connect")] = msgspec.field(
        default_factory=lambda: ["127.0.0.1"]
    )
    form: Annotated[str, Meta(description="how fields are written: ascii, binary, or a .toml file with exceptions")] = (
        "ascii"
    )
    deadline_ms: Annotated[
        int, Meta(ge=1, le=60_000, description="milliseconds until the policy's fallback answers")
    ] = 250
    approve: Annotated[Code, Meta(description="response code (DE 39) of an approval")] = "00"
    challenge: Annotated[Code, Meta(description="response code of a challenge")] = "1A"
    review: Annotated[Code, Meta(description="response code of a review")] = "01"
    decline: Annotated[Code, Meta(description="response code of a decline")] = "59"
    connections: Annotated[int, Meta(ge=1, description="connections at once")] = 50
    in_flight: Annotated[int, Meta(ge=1, description="messages of a connection that wait; no more are read then")] = 200
    message_bytes: Annotated[int, Meta(ge=64, le=65_535, description="largest message")] = 4096
    message_s: Annotated[
        float, Meta(gt=0, description="seconds until the rest of a message, or of a TLS handshake, must have come")
    ] = 10.0


class PreviewSettings(Section, frozen=True):
    """`[preview]`: the service that decides without any effect, which the gateway asks."""

    host: Annotated[str, Meta(description="address to listen on")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="port of the service")] = 8481
    url: Annotated[str, Meta(description="where the gateway reaches it; empty: at host and port")] = ""
    token: Annotated[
        Secret | None, Meta(description="what the gateway presents; without it, there are no previews")
    ] = None
