"""What all tests share: servers, their settings, and what to do where a server is not installed."""

import os
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from zlib import crc32

import hypothesis
import psutil
import pytest
import structlog
from playwright.sync_api import Browser, sync_playwright
from sqlalchemy import Engine

from adapters.database import open_database
from alerts.tables import metadata
from stack.local import LocalStack
from stack.state import StackState
from stack.topics import apply
from tests import commands_run
from tests.shared_servers import Desk, OwnServers, RemoteServers, Servers
from vedette.errors import UnavailableError
from vedette.settings import (
    DatabaseSettings,
    KafkaSettings,
    NotifySettings,
    RedisSettings,
    Settings,
    TopicSettings,
    WorkerSettings,
)

if TYPE_CHECKING:
    from decisions.strategy import Strategy

# How long an example takes says more about the machine than about the code.
hypothesis.settings.register_profile("vedette", deadline=None)
hypothesis.settings.load_profile("vedette")

NOW = 1_700_000_000_000

_T = TypeVar("_T")
ROOT = Path(__file__).parents[1]
"""Of the repository."""

SettingsFor = Callable[[LocalStack | StackState, str], Settings]

SHARED_SERVERS = ("embedded_stack", "apache_stack", "postgres")
OWN_SERVERS = ("own_apache", "own_stack", "browser", "moto_url")
"""Fixtures that start servers for some tests only; `servers` has those that all share."""

LONG_FILES = {"tests/faults/test_faults.py": 3, "tests/demo/test_command.py": 3}
"""Files that several processes of pytest-xdist share, so that none is still at work when the others have ended."""

_SERVERS = pytest.StashKey[Servers]()
_PROGRAMS = ("noida-db", "redis-server", "java", "postgres", "initdb", "chromium", "node")
_test_without_servers = ""


def pytest_configure(config: pytest.Config) -> None:
    """Prepare the shared servers: the main process owns them, the processes of pytest-xdist ask it."""
    if worker := getattr(config, "workerinput", None):
        config.stash[_SERVERS] = RemoteServers(worker["desk"], worker["directory"], worker["workerid"])
        return
    servers = config.stash[_SERVERS] = OwnServers()
    config.add_cleanup(servers.close)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a process of pytest-xdist where the main process answers."""
    servers = node.config.stash[_SERVERS]
    if not servers.desk:
        servers.desk = Desk(servers)
    node.workerinput |= {"desk": servers.desk.address, "directory": str(servers.directory)}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need a server, by their fixtures, and let the longest begin first."""
    for item in items:
        fixtures = {*getattr(item, "fixturenames", ())}
        if callspec := getattr(item, "callspec", None):  # a parameter may be the name of a fixture
            fixtures |= {value for value in callspec.params.values() if isinstance(value, str)}
        if item.get_closest_marker("kafka") or fixtures & {"servers", *SHARED_SERVERS, *OWN_SERVERS}:
            item.add_marker("servers")
    items.sort(key=lambda item: [item.get_closest_marker(name) is None for name in ("kafka", "slow", "servers")])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Refuse a server to a test that is not marked: `make check` would start it."""
    global _test_without_servers  # noqa: PLW0603, an audit hook cannot be removed and has no other way to know
    marked = item.get_closest_marker("servers") or item.get_closest_marker("slow")
    _test_without_servers = "" if marked else item.nodeid
    commands_run.run.clear()
    result = yield
    _test_without_servers = ""
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Fail a test that does not run the commands that it claims to run."""
    result = yield
    claimed = {name for mark in item.iter_markers("runs") for name in mark.args}
    assert claimed <= commands_run.run, f"{sorted(claimed - commands_run.run)} did not run"
    return result


def _watch_children(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "subprocess.Popen":
        commands_run.note_child(arguments[1] or ())
        program = os.path.basename(os.fsdecode(arguments[1][0] if arguments[1] else arguments[0]))  # noqa: PTH119
        if _test_without_servers and program in _PROGRAMS:
            raise RuntimeError(f"{_test_without_servers} starts {program}: it needs the mark `servers`")


commands_run.note_commands()
sys.addaudithook(_watch_children)

# Tests start the same programs many times; without bytecode each start compiles all of its imports, for seconds.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two processes per processor, as tests mostly wait for servers, or one (`logical`) without; at most eight."""
    each = 1 if config.option.numprocesses == "logical" else 2
    return min(each * (os.cpu_count() or 1), 8)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each file to one process, but the longest, whose tests are independent, to several."""
    from xdist.scheduler.loadscope import LoadScopeScheduling  # noqa: PLC0415, there is no scheduler without xdist

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file, _, test = nodeid.partition("::")
            return f"{file} {crc32(test.encode()) % LONG_FILES.get(file, 1)}"

    config.option.loadscopereorder = False  # the order is that of pytest_collection_modifyitems
    return ByFile(config, log)


def missing(part: UnavailableError) -> NoReturn:
    """A part that is not installed skips the test on a user's machine, but is a failure in CI.

    Its error says how to install it; one without a remedy is about an installed part that does not start.
    """
    if os.environ.get("CI") or not part.remedy:
        pytest.fail(f"a part is missing or does not start: {part}", pytrace=False)
    pytest.skip(str(part))


def running(stack: LocalStack) -> Iterator[LocalStack]:
    """A stack for the length of a fixture."""
    try:
        stack.start()
    except UnavailableError as error:
        missing(error)
    yield stack
    stack.stop()


def gone(pid: int) -> bool:
    """Whether a process has ended, even if its new parent has not asked for its exit code yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_for(condition: Callable[[], bool], within_s: float = 30.0) -> None:
    """Return once a condition holds; fail at the deadline."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "the condition does not hold in time"
        time.sleep(0.02)


class Dial:
    """A clock set by hand."""

    def __init__(self, now: int = NOW) -> None:
        self.now = now

    def now_ms(self) -> int:
        """The time it was set to."""
        return self.now


@pytest.fixture
def dial() -> Dial:
    """A clock set by hand."""
    return Dial()


@pytest.fixture(scope="session")
def servers(pytestconfig: pytest.Config) -> Servers:
    """The servers that all tests share; leave them running."""
    return pytestconfig.stash[_SERVERS]


def shared(found: Callable[[], _T]) -> _T:
    """Return a shared server's address, or skip the test where it is missing."""
    try:
        return found()
    except UnavailableError as error:
        missing(error)


@pytest.fixture(scope="session")
def embedded_stack(servers: Servers) -> StackState:
    """The embedded broker and Redis."""
    return shared(lambda: servers.stack("embedded"))


@pytest.fixture(scope="session")
def apache_stack(servers: Servers) -> StackState:
    """Apache Kafka and the system's Redis. Mark the test `kafka`."""
    return shared(lambda: servers.stack("apache"))


@pytest.fixture
def topic_prefix() -> str:
    """A prefix that no other test uses for topics, keys and groups, so that all can share one stack."""
    return f"t{uuid.uuid4().hex[:8]}-"


@pytest.fixture(scope="session")
def settings_for() -> SettingsFor:
    """Makes the settings of a stack and a prefix: `settings_for(stack, topic_prefix)`."""

    def make(stack: LocalStack | StackState, prefix: str) -> Settings:
        return Settings(
            kafka=KafkaSettings(bootstrap_servers=stack.bootstrap_servers),
            topics=TopicSettings(prefix=prefix),
            redis=RedisSettings(url=stack.redis_url, prefix=prefix),
            worker=WorkerSettings(group=f"{prefix}worker", metrics_port=0),
            notify=NotifySettings(group=f"{prefix}notify"),
        )

    return make


@pytest.fixture
def settings(embedded_stack: StackState, settings_for: SettingsFor, topic_prefix: str) -> Settings:
    """Settings of the shared embedded stack with topics of this test's own; a room may have others."""
    made = settings_for(embedded_stack, topic_prefix)
    apply(made)
    return made


@pytest.fixture(scope="session")
def postgres(servers: Servers) -> str:
    """The address of a database of this process's own on a real PostgreSQL."""
    return shared(lambda: servers.url("postgres"))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> DatabaseSettings:
    """The settings of an empty database."""
    if request.param == "sqlite":
        return DatabaseSettings(url=f"sqlite:///{tmp_path / 'alerts.sqlite'}")
    settings = DatabaseSettings(url=request.getfixturevalue("postgres"))
    engine = open_database(settings)
    with engine.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
    engine.dispose()
    return settings


@pytest.fixture
def engine(database: DatabaseSettings) -> Iterator[Engine]:
    """An open database without rows, of each kind in turn."""
    opened = open_database(database)
    yield opened
    opened.dispose()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Engine]:
    """An open SQLite database without rows, for tests that do not depend on the kind."""
    opened = open_database(DatabaseSettings(url=f"sqlite:///{tmp_path / 'alerts.sqlite'}"))
    yield opened
    opened.dispose()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; at most for a module, since while it is open an event loop counts as running."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        missing(UnavailableError("there is no chromium on PATH", remedy="run scripts/install-test-deps --browser"))
    with sync_playwright() as playwright:
        sandbox = ["--no-sandbox"] if os.getuid() == 0 else []
        launched = playwright.chromium.launch(executable_path=program, args=sandbox)
        yield launched
        launched.close()


@pytest.fixture
def lines() -> list[dict[str, Any]]:
    """The lines that were logged."""
    return []


@pytest.fixture
def log(lines: list[dict[str, Any]]) -> Any:
    """A logger that keeps its lines."""

    def keep(_logger: Any, level: str, line: Any) -> Any:
        lines.append(line | {"level": level})
        raise structlog.DropEvent

    return structlog.wrap_logger(structlog.PrintLogger(), processors=[keep])


@pytest.fixture(scope="session")
def strategy() -> "Strategy":
    """The policy that ships with Vedette, and the model whose decisions do not depend on the lag of live signals."""
    from models.file_names import SETTLED_MODEL  # noqa: PLC0415, seconds that most tests need not pay
    from streams.bootstrap import load_strategy  # noqa: PLC0415

    return load_strategy(SETTLED_MODEL, ROOT / "decisions/policy.yaml")
