"""Clients of the gateway, for threads and for coroutines: they need nothing of the server.

`GatewayClient` and `AsyncGatewayClient` ask for decisions, and repeat a request under its own id until it is answered.
"""

from vedette.client.answers import (
    Answer,
    AnswerReason,
    BatchAnswer,
    BatchItem,
    ChallengeRef,
    LineResult,
    PreviewAnswer,
    Problem,
    ProblemError,
)
from vedette.client.coroutines import AsyncGatewayClient
from vedette.client.threads import GatewayClient

__all__ = [
    "Answer",
    "AnswerReason",
    "AsyncGatewayClient",
    "BatchAnswer",
    "BatchItem",
    "ChallengeRef",
    "GatewayClient",
    "LineResult",
    "PreviewAnswer",
    "Problem",
    "ProblemError",
]
