"""One contract for state in Redis, on the embedded Redis, the system's, a cluster of three nodes, and Sentinel."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.cluster import RedisCluster

from adapters.redis import connect
from features.identity import OPEN
from features.store import CommitStep, RedisStore
from stack.doctor import redis_checks
from stack.process import free_ports
from stack.redis_pair import RedisPair
from stack.redis_server import RedisKind, RedisServer
from tests.conftest import missing, wait_for
from vedette import SystemClock, keys
from vedette.errors import FencedError, SettingsError, StateError, UnavailableError
from vedette.settings import RedisSettings

pytestmark = pytest.mark.servers

SLOTS = 16_384
SHARE = -(-SLOTS // 3)
POSITION = keys.position("transactions")


class ClusterNode(RedisServer):
    """A node of a Redis Cluster; it talks to the others on its second port."""

    def command(self) -> list[str]:
        """Return the command of a redis-server in cluster mode."""
        return [*super().command(), "--cluster-enabled", "yes", "--cluster-port", str(self.port + 1)]

    def ask(self, *command: str | int) -> Any:
        """Return the answer to a CLUSTER command."""
        with redis.Redis(port=self.port) as client:
            asked: Any = client
            return asked.execute_command("CLUSTER " + str(command[0]), *command[1:])

    def whole(self) -> bool:
        """Whether it knows all nodes and an owner for every slot."""
        info = self.ask("INFO")
        return bool(info["cluster_state"] == "ok" and info["cluster_known_nodes"] == "3")


@contextmanager
def cluster(directory: Path) -> Iterator[list[ClusterNode]]:
    """Three nodes that share all slots."""
    taken: list[int] = []
    while len(taken) < 3:
        port, bus = sorted(free_ports(2, avoid=[p + i for p in taken for i in (0, 1)]))
        if bus == port + 1:
            taken.append(port)
    nodes = [ClusterNode("system", directory / str(port), port) for port in taken]
    with ExitStack() as stack:
        for i, node in enumerate(nodes):
            node.start()
            stack.callback(node.stop)
            last = min(SLOTS, (i + 1) * SHARE) - 1
            node.ask("ADDSLOTSRANGE", i * SHARE, last)
            node.ask("SET-CONFIG-EPOCH", i + 1)
            if i:
                node.ask("MEET", "127.0.0.1", nodes[0].port, nodes[0].port + 1)
        wait_for(lambda: all(node.whole() for node in nodes))
        yield nodes


@contextmanager
def single(kind: RedisKind, directory: Path) -> Iterator[RedisServer]:
    """One Redis."""
    server = RedisServer(kind, directory, free_ports(1)[0])
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module", params=["embedded", "system", "cluster", "sentinel"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of each kind of Redis in turn."""
    directory = tmp_path_factory.mktemp(request.param)
    with ExitStack() as stack:
        try:
            if request.param == "cluster":
                address = "redis+cluster://" + stack.enter_context(cluster(directory))[1].address
            elif request.param == "sentinel":
                address = stack.enter_context(RedisPair(directory, "system")).url
            else:
                address = stack.enter_context(single(request.param, directory)).url
        except UnavailableError as error:
            missing(error)
        yield address


@pytest.fixture
def settings(url: str, topic_prefix: str) -> RedisSettings:
    """Settings with keys of this test's own."""
    return RedisSettings(url=url, prefix=topic_prefix, state_ttl_days=40)


@pytest.fixture
def store(settings: RedisSettings) -> Iterator[RedisStore]:
    """A store."""
    made = RedisStore(settings)
    yield made
    made.close()


def name(store: RedisStore, partition: int, account: str) -> str:
    """Return the key of an account's state."""
    return keys.account(store.prefix, partition) + account


def test_a_new_partition_is_empty(store: RedisStore) -> None:
    """The first claim of a partition has epoch 1 and no watermark, and no key holds a state."""
    claim = store.claim(3)
    assert (claim.epoch, claim.meta) == (1, {})
    assert store.load([name(store, 3, "a")]) == [None]
    assert store.load([]) == []


def test_what_was_committed_is_there_for_the_next_owner(store: RedisStore) -> None:
    """The next owner of the partition finds state and watermarks again, byte for byte."""
    epoch = store.claim(0).epoch
    blob = bytes(range(256)) * 5
    store.commit(0, epoch, {name(store, 0, "ä"): blob, name(store, 0, "b"): b""}, {POSITION: 17, "time": 2**53 + 1})
    claim = store.claim(0)
    assert (claim.epoch, claim.meta) == (epoch + 1, {POSITION: 17, "time": 2**53 + 1})
    assert store.load([name(store, 0, "b"), name(store, 0, "c"), name(store, 0, "ä")]) == [b"", None, blob]


def test_many_keys_of_all_partitions_come_in_order(store: RedisStore) -> None:
    """However many states of whichever partitions are requested, they are returned in the order of the keys."""
    wanted: dict[str, bytes | None] = {}
    for partition in range(4):
        blobs = {name(store, partition, f"a{i}"): f"{partition}-{i}".encode() for i in range(1500)}
        store.commit(partition, store.claim(partition).epoch, blobs, {})
        wanted |= blobs
    names = sorted([*wanted, *(name(store, 1, f"none{i}") for i in range(500))], key=hash)
    assert store.load(names) == [wanted.get(key) for key in names]


def test_an_earlier_owner_is_fenced(store: RedisStore) -> None:
    """Once a partition is claimed again, the earlier owner's commit fails and writes neither state nor watermark."""
    first = store.claim(0).epoch
    store.commit(0, first, {name(store, 0, "a"): b"first"}, {POSITION: 1})
    second = store.claim(0).epoch
    with pytest.raises(FencedError, match=f"partition 0 belongs to another worker now .epoch {first} is over"):
        store.commit(0, first, {name(store, 0, "a"): b"late", name(store, 0, "b"): b"late"}, {POSITION: 2})
    assert store.load([name(store, 0, "a"), name(store, 0, "b")]) == [b"first", None]
    assert store.meta(0)[POSITION] == 1
    store.commit(0, second, {name(store, 0, "a"): b"second"}, {POSITION: 3})
    assert store.load([name(store, 0, "a")]) == [b"second"]


def test_nobody_writes_without_a_claim(store: RedisStore) -> None:
    """State cannot be written to a partition without a claim, nor to one whose claim Redis has lost."""
    with pytest.raises(FencedError):
        store.commit(5, 1, {name(store, 5, "a"): b"x"}, {POSITION: 1})
    assert (store.load([name(store, 5, "a")]), store.meta(5)) == ([None], {})


def test_partitions_are_claimed_one_by_one(store: RedisStore) -> None:
    """Claiming one partition does not affect the owners of the others."""
    epoch = store.claim(0).epoch
    store.claim(1)
    store.commit(0, epoch, {}, {POSITION: 5})
    assert store.meta(0)[POSITION] == 5


def test_several_partitions_are_written_at_once_each_by_itself(store: RedisStore) -> None:
    """Of several steps sent together, one whose partition has another owner is refused and the others are written."""
    epochs = [store.claim(partition).epoch for partition in range(3)]
    store.claim(1)
    steps = [
        CommitStep(partition, epoch, {name(store, partition, "a"): b"x"}, {POSITION: 4}, (POSITION, None))
        for partition, epoch in enumerate(epochs)
    ]
    for _ in range(2):  # the second time as if the answer to the first had been lost
        first, second, third = store.commit_all(steps)
        assert isinstance(second, FencedError)
        assert (first, third) == (None, None)
        assert [store.meta(partition).get(POSITION) for partition in range(3)] == [4, None, 4]
    assert store.load([name(store, partition, "a") for partition in range(3)]) == [b"x", None, b"x"]


def test_partitions_are_written_at_once_by_a_redis_that_does_not_know_the_script(store: RedisStore) -> None:
    """After a restart Redis has lost the script, and is sent it again."""
    epochs = [store.claim(partition).epoch for partition in range(2)]
    store._client.script_flush()
    steps = [CommitStep(partition, epoch, {}, {POSITION: 4}) for partition, epoch in enumerate(epochs)]
    assert store.commit_all(steps) == [None, None]
    assert [store.meta(partition)[POSITION] for partition in range(2)] == [4, 4]


def test_a_store_that_went_back_is_noticed(store: RedisStore) -> None:
    """A commit that must follow a watermark writes nothing when the store is at another one."""
    epoch = store.claim(0).epoch
    store.commit(0, epoch, {}, {POSITION: 10}, after=(POSITION, None))
    with pytest.raises(StateError, match=f"{POSITION} is no longer 20"):
        store.commit(0, epoch, {name(store, 0, "a"): b"x"}, {POSITION: 30}, after=(POSITION, 20))
    assert (store.load([name(store, 0, "a")]), store.meta(0)[POSITION]) == ([None], 10)


def test_a_commit_whose_answer_was_lost_can_be_repeated(store: RedisStore) -> None:
    """The same step again, after it was done, succeeds and changes nothing."""
    epoch = store.claim(0).epoch
    for _ in range(2):
        store.commit(0, epoch, {name(store, 0, "a"): b"x"}, {POSITION: 10}, after=(POSITION, None))
    assert (store.load([name(store, 0, "a")]), store.meta(0)[POSITION]) == ([b"x"], 10)


def test_idle_state_expires_and_watermarks_do_not(store: RedisStore) -> None:
    """A state expires the configured number of days after its last write; epoch and watermarks do not expire."""
    store.commit(0, store.claim(0).epoch, {name(store, 0, "a"): b"x"}, {POSITION: 1})
    assert 39 * 86_400 < store._client.ttl(name(store, 0, "a")) <= 40 * 86_400
    assert store._client.ttl(keys.meta(store.prefix, 0)) == -1


def test_a_redis_that_forgot_the_script_learns_it_again(store: RedisStore) -> None:
    """After a restart or a failover Redis has no script; the commit still works."""
    epoch = store.claim(0).epoch
    store._client.script_flush()
    store.commit(0, epoch, {name(store, 0, "a"): b"x"}, {POSITION: 1})
    assert store.load([name(store, 0, "a")]) == [b"x"]


_WRITER = """
import sys
from features.store import CommitStep, RedisStore
from vedette.settings import RedisSettings
url, prefix, names = sys.argv[1], sys.argv[2], sys.argv[3:]
store = RedisStore(RedisSettings(url=url, prefix=prefix))
claim = store.claim(0)
step = claim.meta.get("pos:transactions", 0)
while True:
    step += 1
    store.commit(0, claim.epoch, dict.fromkeys(names, b"%d" % step), {"pos:transactions": step})
"""


def test_a_killed_writer_leaves_state_and_watermark_together(store: RedisStore, settings: RedisSettings) -> None:
    """Whenever the worker is killed, every state is exactly where the watermark says."""
    names = [name(store, 0, f"a{i}") for i in range(50)]
    for _ in range(3):
        started_at = store.meta(0).get(POSITION, 0)
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, settings.url, settings.prefix, *names])
        try:
            wait_for(lambda start=started_at: store.meta(0).get(POSITION, 0) > start + 20)  # type: ignore[misc]
        finally:
            os.kill(writer.pid, signal.SIGKILL)
            writer.wait()
        store.claim(0)  # what the dead writer had sent may still be on its way: from here on it is fenced
        position = store.meta(0)[POSITION]
        assert store.load(names) == [b"%d" % position] * len(names)


@contextmanager
def memory_limit(store: RedisStore, spare: int) -> Iterator[None]:
    """Let Redis use no more memory than now plus `spare` bytes."""
    everywhere = {"target_nodes": RedisCluster.PRIMARIES} if isinstance(store._client, RedisCluster) else {}
    answer = store._client.info("memory", **everywhere)
    infos = [answer] if "used_memory" in answer else list(answer.values())
    store._client.config_set("maxmemory", max(1, min(i["used_memory"] for i in infos) + spare), **everywhere)
    try:
        yield
    finally:
        store._client.config_set("maxmemory", 0, **everywhere)


def test_a_full_redis_writes_nothing(store: RedisStore) -> None:
    """Without memory, a commit and a claim are refused as unavailable, and no part of them is written."""
    epoch = store.claim(0).epoch
    store.commit(0, epoch, {name(store, 0, "a"): b"before"}, {POSITION: 1})
    with memory_limit(store, -500_000):
        with pytest.raises(UnavailableError, match="maxmemory"):
            store.commit(0, epoch, {name(store, 0, "a"): b"after"}, {POSITION: 2})
        with pytest.raises(UnavailableError, match="maxmemory"):
            store.claim(0)
        known = {"epoch": epoch, POSITION: 1, keys.IDENTITY: OPEN.fingerprint}
        assert (store.load([name(store, 0, "a")]), store.meta(0)) == ([b"before"], known)
    store.commit(0, epoch, {name(store, 0, "a"): b"after"}, {POSITION: 2})
    assert (store.load([name(store, 0, "a")]), store.meta(0)[POSITION]) == ([b"after"], 2)


def test_a_redis_that_fills_up_during_a_commit_writes_all_or_nothing(store: RedisStore) -> None:
    """A commit larger than the memory left is written as a whole or not at all."""
    epoch = store.claim(0).epoch
    names = [name(store, 0, f"a{i}") for i in range(200)]
    written = True
    with memory_limit(store, 500_000):
        try:
            store.commit(0, epoch, dict.fromkeys(names, bytes(20_000)), {POSITION: 1})
        except UnavailableError:
            written = False
    assert store.load(names) == [bytes(20_000) if written else None] * len(names)
    assert store.meta(0).get(POSITION) == (1 if written else None)


def test_positions_are_read_of_every_partition(store: RedisStore) -> None:
    """An aligned replay gets the watermark of a topic by partition, 0 before the first message."""
    store.commit(2, store.claim(2).epoch, {}, {POSITION: 7})
    assert store.positions("transactions", [0, 2]) == {0: 0, 2: 7}


def test_doctor_understands_every_kind_of_redis(settings: RedisSettings) -> None:
    """A correctly configured Redis has no problem, whatever its nodes."""
    client = connect(settings)
    found = redis_checks(client, SystemClock())
    client.close()
    assert [check for check in found if not check.ok] == []
    assert len(found) == 5


def test_ping(store: RedisStore) -> None:
    """A Redis that answers raises nothing, and one that is not there is unavailable."""
    store.ping()
    with pytest.raises(UnavailableError, match="Redis: "):
        RedisStore(RedisSettings(url=f"redis://127.0.0.1:{free_ports(1)[0]}")).ping()


@contextmanager
def one_of(kind: str, directory: Path, topic_prefix: str) -> Iterator[tuple[RedisStore, RedisServer]]:
    """A store, and the server or node that holds its partition 0."""
    with ExitStack() as stack:
        try:
            if kind == "cluster":
                nodes = stack.enter_context(cluster(directory))
                url = f"redis+cluster://{nodes[0].address}"
                slot = nodes[0].ask("KEYSLOT", keys.meta(topic_prefix, 0))
                owner: RedisServer = nodes[slot // SHARE]
            else:
                owner = stack.enter_context(single("system" if kind == "system" else "embedded", directory))
                url = owner.url
        except UnavailableError as error:
            missing(error)
        store = RedisStore(RedisSettings(url=url, prefix=topic_prefix))
        stack.callback(store.close)
        yield store, owner


@pytest.mark.parametrize("kind", ["embedded", "system", "cluster"])
def test_a_redis_that_goes_and_comes_back(kind: str, tmp_path: Path, topic_prefix: str) -> None:
    """Every method says unavailable while the owner of the keys is down; then the same store continues where it was."""
    with one_of(kind, tmp_path, topic_prefix) as (store, server):
        epoch = store.claim(0).epoch
        store.commit(0, epoch, {name(store, 0, "a"): b"x"}, {POSITION: 1})
        server.kill()
        for call in (
            lambda: store.claim(0),
            lambda: store.meta(0),
            lambda: store.load([name(store, 0, "a")]),
            lambda: store.commit(0, epoch, {}, {POSITION: 2}),
        ):
            with pytest.raises(UnavailableError, match="Redis: "):
                call()
        server.start()
        if isinstance(server, ClusterNode):
            wait_for(server.whole)
        store.commit(0, epoch, {name(store, 0, "b"): b"y"}, {POSITION: 2}, after=(POSITION, 1))
        assert store.load([name(store, 0, "a"), name(store, 0, "b")]) == [b"x", b"y"]


def test_a_failover_is_followed(tmp_path: Path, topic_prefix: str) -> None:
    """When the master dies, the store continues on the replica that the Sentinel has promoted."""
    with RedisPair(tmp_path, "system") as pair:
        store = RedisStore(RedisSettings(url=pair.url, prefix=topic_prefix))
        epoch = store.claim(0).epoch
        store.commit(0, epoch, {name(store, 0, "a"): b"x"}, {POSITION: 1})
        store._client.wait(1, 10_000)
        pair.master.kill()
        with pytest.raises(UnavailableError, match="Redis: "):
            store.load([name(store, 0, "a")])
        wait_for(lambda: pair.promoted)
        wait_for(lambda: answers(store))
        store.commit(0, epoch, {name(store, 0, "b"): b"y"}, {POSITION: 2}, after=(POSITION, 1))
        assert store.load([name(store, 0, "a"), name(store, 0, "b")]) == [b"x", b"y"]
        store.close()


def answers(store: RedisStore) -> bool:
    """Whether Redis can be reached."""
    try:
        store.ping()
    except UnavailableError:
        return False
    return True


@pytest.mark.parametrize("url", ["redis+sentinel://localhost:1", "redis+sentinel://:secret@localhost/vedette"])
def test_a_sentinel_url_names_its_service_and_no_password(url: str) -> None:
    """Missing and invalid parts of the URL are named, and no secret is repeated."""
    with pytest.raises(SettingsError, match=r"host:port/service, without a password") as error:
        RedisStore(RedisSettings(url=url))
    assert "secret" not in str(error.value)


def test_a_cluster_that_is_not_there() -> None:
    """A cluster none of whose nodes answers is unavailable from the start."""
    (port,) = free_ports(1)
    with pytest.raises(UnavailableError, match="Redis: "):
        RedisStore(RedisSettings(url=f"redis+cluster://127.0.0.1:{port}"))


def test_an_impossible_url() -> None:
    """An invalid URL is an error in the settings, and is named."""
    with pytest.raises(SettingsError, match=r"\[redis\] url: "):
        RedisStore(RedisSettings(url="http://localhost"))
