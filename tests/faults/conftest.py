"""The stream that is run with and without faults, and the output of a run without faults."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.faults.deployment import Deployment
from bench.faults.run import deployed, undisturbed
from bench.faults.stream import Stream, simulated
from stack.local import LocalStack
from stack.state import StackState
from streams.history.run_output import RunOutput
from tests.conftest import running
from tests.shared_servers import Servers, once

Deploy = Callable[[LocalStack, Stream], Deployment]


@pytest.fixture(scope="session")
def stream() -> Stream:
    """30,000 payments of two weeks, their labels, and every kind of poison several times."""
    return simulated(30_000)


@pytest.fixture
def deploy(tmp_path: Path) -> Iterator[Deploy]:
    """Makes a deployment of a stream on a stack, for one worker at a time."""
    with ExitStack() as made:
        yield lambda stack, stream: made.enter_context(deployed(stack, stream, tmp_path, instance="worker"))


@pytest.fixture(scope="module")
def own_apache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A stack of Apache Kafka and the system's Redis whose parts may be killed, as long as they come back."""
    yield from running(LocalStack(tmp_path_factory.mktemp("faults") / "stack", "apache", "system"))


@pytest.fixture(scope="session")
def calm(
    stream: Stream, embedded_stack: StackState, servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> RunOutput:
    """The output of one worker on the whole stream, without faults."""
    directory = tmp_path_factory.mktemp("calm")
    return once(servers.directory, "calm", lambda: undisturbed(embedded_stack, stream, directory))


@pytest.fixture(scope="session")
def small_calm(
    stream: Stream, embedded_stack: StackState, servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> RunOutput:
    """The output of one worker on the small stream, without faults."""
    directory = tmp_path_factory.mktemp("small-calm")
    return once(servers.directory, "small-calm", lambda: undisturbed(embedded_stack, stream.small(), directory))
