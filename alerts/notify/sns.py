"""AWS SNS: messages to a topic, with the official client. Credentials are found the way AWS's own tools do."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from alerts.incidents.routing import ChannelName, Target
from alerts.notify.channel import Outcome, Permanent, Question, Retry, Sent, Unknown
from alerts.notify.message import Message
from vedette.errors import SettingsError

_BUSY = ("Throttling", "ThrottlingException", "TooManyRequestsException", "KMSThrottlingException")
_SUBJECT_LIMIT = 100  # characters of ASCII, as SNS demands


class SnsChannel:
    """Messages to SNS topics.

    Args:
        timeout_s: For connecting, and for every wait for bytes.
        parallel: How many are under way at once.
        endpoint: Another server that speaks SNS; empty: AWS.

    Raises:
        SettingsError: The client is not installed.
    """

    def __init__(self, timeout_s: float, parallel: int, endpoint: str) -> None:
        try:
            import boto3  # noqa: PLC0415, an extra
            from botocore.config import Config  # noqa: PLC0415
        except ImportError as error:
            raise SettingsError(
                "the routing has an sns recipient, and AWS's client is not installed",
                remedy="pip install 'vedette[aws]'",
            ) from error
        config = Config(
            connect_timeout=timeout_s,
            read_timeout=timeout_s,
            max_pool_connections=parallel,
            retries={"total_max_attempts": 1},  # the outbox decides about second sends
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

    async def send(self, message: Message, target: Target) -> Outcome:
        """Publish one message; throttling may be retried, a refusal is permanent, a server error unknown."""
        client = self._client(target.to.value)
        return await asyncio.get_running_loop().run_in_executor(self._threads, _publish, client, message, target)

    async def find(self, questions: Sequence[Question]) -> dict[str, Sent]:
        """Nothing: SNS cannot be asked. A FIFO topic drops a second copy by its deduplication id."""
        del questions
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


def _publish(client: Any, message: Message, target: Target) -> Outcome:
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
        return Unknown(code, reason) if status >= 500 else Permanent(code, reason)
    except (EndpointConnectionError, ConnectTimeoutError, NoCredentialsError) as error:
        return Retry(type(error).__name__, "no connection to SNS, or no credentials for it")
    except BotoCoreError as error:
        return Unknown(type(error).__name__, "no answer from SNS")
    return Sent(provider_id=answer["MessageId"])
