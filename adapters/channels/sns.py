"""AWS SNS: messages to a topic, with the official client. Credentials are found as by AWS's tools."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from adapters.channels.channel import ChannelDown, DoubtfulMessage, Permanent, Retry, SendOutcome, Sent, Unknown
from adapters.channels.message import Message
from adapters.channels.target import ChannelName, Target
from adapters.extras import needs_extra

_BUSY = ("Throttling", "ThrottlingException", "TooManyRequestsException", "KMSThrottlingException")
_LOGIN = ("InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch", "ExpiredToken")
_SUBJECT_LIMIT = 100  # ASCII characters, the limit of SNS


class SnsChannel:
    """Messages to SNS topics.

    Args:
        timeout_s: Time-out for connecting, and for every wait for bytes.
        parallel: Maximum number of messages sent at the same time.
        endpoint: Another server that speaks SNS; empty: AWS.

    Raises:
        UnavailableError: The client is not installed.
    """

    def __init__(self, timeout_s: float, parallel: int, endpoint: str) -> None:
        with needs_extra("aws", "the channel sns"):
            import boto3  # noqa: PLC0415, an extra
            from botocore.config import Config  # noqa: PLC0415
        config = Config(
            connect_timeout=timeout_s,
            read_timeout=timeout_s,
            max_pool_connections=parallel,
            retries={"total_max_attempts": 1},  # the outbox decides about retries
        )
        self._session = boto3.session.Session()
        self._config = config
        self._endpoint = endpoint or None
        self._clients: dict[str, Any] = {}
        self._threads = ThreadPoolExecutor(parallel, "sns")

    @property
    def name(self) -> ChannelName:
        """The channel's name."""
        return "sns"

    async def send(self, message: Message, target: Target) -> SendOutcome:
        """Publish one message; throttling may be retried, a refusal is permanent, a server error unknown."""
        client = self._client(target.to.value)
        return await asyncio.get_running_loop().run_in_executor(self._threads, _publish, client, message, target)

    async def find(self, doubtful: Sequence[DoubtfulMessage]) -> dict[str, Sent]:
        """Return nothing: SNS has no look-up. A FIFO topic drops a second copy by its deduplication id."""
        del doubtful
        return {}

    async def close(self) -> None:
        """Close the kept connections."""
        self._threads.shutdown()
        for client in self._clients.values():
            client.close()

    def _client(self, arn: str) -> Any:
        region = arn.split(":")[3]
        if region not in self._clients:
            self._clients[region] = self._session.client(
                "sns", region_name=region, endpoint_url=self._endpoint, config=self._config
            )
        return self._clients[region]


def _publish(client: Any, message: Message, target: Target) -> SendOutcome:
    from botocore.exceptions import (  # noqa: PLC0415, an extra
        BotoCoreError,
        ClientError,
        ConnectTimeoutError,
        EndpointConnectionError,
        NoCredentialsError,
    )

    arn = target.to.value
    subject = message.subject.encode("ascii", "replace").decode()[:_SUBJECT_LIMIT]
    fifo = {"MessageGroupId": str(message.incident or "digest"), "MessageDeduplicationId": message.reference}
    try:
        answer = client.publish(
            TopicArn=arn, Message=message.text, Subject=subject, **(fifo if arn.endswith(".fifo") else {})
        )
    except ClientError as error:
        code, status = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
        reason = f"SNS answered {status}, error {code}"
        if code in _BUSY:
            return Retry(code, reason)
        if code in _LOGIN:
            return ChannelDown(code, f"SNS refused the login: {reason}", "check the AWS credentials")
        return Unknown(code, reason) if status >= 500 else Permanent(code, reason)
    except (EndpointConnectionError, ConnectTimeoutError, NoCredentialsError) as error:
        code = type(error).__name__
        return ChannelDown(code, f"SNS cannot be reached, or there are no credentials ({code})", "check both")
    except BotoCoreError as error:
        return Unknown(type(error).__name__, "no answer from SNS")
    return Sent(provider_id=answer["MessageId"])
