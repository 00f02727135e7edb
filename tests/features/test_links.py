import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cli.main import app
from features.link_neighbourhood import neighbourhood
from features.link_snapshot import load, save, snapshots
from features.links import LINK_FEATURES, MOST_HOPS, LinkHistory, Links, LinkSettings, collect, features_of
from producers.simulation import Simulation
from producers.simulator import simulate
from vedette.clock import DAY
from vedette.errors import InputError

SETTINGS = LinkSettings()
NOW = 1_522_540_800_000 + 40 * DAY
Payment = tuple[str, int, str | None, str | None, str | None, bool]


def batch(*payments: Payment) -> pa.RecordBatch:
    """Return payments given as account, days ago, device, payee, address, fraud; labels are known a day later."""
    account, ago, device, payee, ip, fraud = zip(*payments, strict=True)
    time = [NOW - days * DAY for days in ago]
    return pa.record_batch(
        {
            "account_id": pa.array(account, pa.string()),
            "event_time": pa.array(time, pa.int64()),
            "device_id": pa.array(device, pa.string()),
            "payee": pa.array(payee, pa.string()),
            "ip_address": pa.array(ip, pa.string()),
            "fraud": pa.array(fraud, pa.bool_()),
            "labelled_at": pa.array([moment + DAY for moment in time], pa.int64()),
        }
    )


def values(links: Links, account: str) -> dict[str, float]:
    """Return the features of an account by name."""
    row = features_of(links, pa.array([account]))[0]
    return dict(zip(LINK_FEATURES, row.tolist(), strict=True))


@pytest.fixture(scope="module")
def ring() -> Links:
    """Four accounts on one device, one of them defrauded; two others who share a payee; one alone."""
    return collect(
        [
            batch(
                ("a", 20, "D", None, None, True), ("b", 20, "D", None, None, False), ("c", 3, "D", None, None, False),
                ("d", 3, "D", "x", None, False), ("e", 9, "E", "shared", None, False),
                ("f", 9, "F", "shared", None, False), ("alone", 2, "own", None, None, False),
            )
        ],
        NOW,
        SETTINGS,
    )  # fmt: skip


def test_a_device_makes_a_group_with_its_share_of_frauds_and_its_growth(ring: Links) -> None:
    """Its size, the fraction of frauds among the others and of accounts new this week, and one step to the fraud."""
    assert values(ring, "b") == {
        "links_group_size": 4, "links_fraud_share": pytest.approx(1 / 3), "links_growth": 0.5, "links_fraud_hops": 1,
    }  # fmt: skip
    assert values(ring, "a")["links_fraud_share"] == 0
    assert np.isnan(values(ring, "a")["links_fraud_hops"])
    assert values(ring, "e")["links_group_size"] == 2
    assert values(ring, "alone")["links_group_size"] == 1
    assert np.isnan(list(values(ring, "nobody").values())).all()


def test_hubs_link_nobody() -> None:
    """An entity shared by more accounts than the limit is ignored."""
    crowd = [(f"c{i}", 5, None, None, "carrier", i == 0) for i in range(31)]
    assert (collect([batch(*crowd)], NOW, SETTINGS).features[:, 0] == 1).all()
    assert (collect([batch(*crowd[:30])], NOW, SETTINGS).features[:, 0] == 30).all()
    assert (collect([batch(*crowd[:30])], NOW, LinkSettings(ip=0)).features[:, 0] == 1).all()


def test_a_payee_that_is_an_account_is_that_account() -> None:
    """A transfer links payer and receiver directly, in both directions."""
    links = collect(
        [batch(("a", 5, None, "b", None, False), ("b", 4, None, "c", None, False), ("c", 3, None, None, None, True))],
        NOW,
        SETTINGS,
    )
    assert [values(links, name)["links_fraud_hops"] for name in "ab"] == [2, 1]
    assert values(links, "a")["links_group_size"] >= 2


def test_only_what_was_known_at_the_moment_counts() -> None:
    """Later payments and later labels change nothing, and old ones are forgotten."""
    before = [("a", 36, "D", None, None, False), ("b", 6, "D", None, None, True), ("c", 6, "D", None, None, False)]
    after = [("d", 4, "D", None, None, True)]
    moment = NOW - 5 * DAY - DAY // 2
    links = collect([batch(*before, *after)], moment, SETTINGS)
    assert links.features.tobytes() == collect([batch(*before)], moment, SETTINGS).features.tobytes()
    assert not links.fraud.any()
    assert links.accounts.to_pylist() == ["b", "c"]


@pytest.fixture(scope="module")
def payments() -> list[pa.RecordBatch]:
    """Simulated payments with rings."""
    return list(simulate(Simulation(customers=400, terminals=200, days=12, seed=8)))


@pytest.fixture(scope="module")
def simulated(payments: list[pa.RecordBatch]) -> Links:
    """Their links at the end."""
    return collect(payments, None, LinkSettings(hub=12))


def test_hops_are_those_of_a_search_one_by_one(simulated: Links) -> None:
    """Every account's distance to the nearest other confirmed fraud equals that of a plain search."""
    near: dict[str, set[str]] = {name: set() for name in simulated.accounts.to_pylist()}
    users: dict[tuple[str, str], set[str]] = {}
    for edge in simulated.edges.to_pylist():
        if edge["kind"] == "payee" and edge["name"] in near:
            near[edge["account"]].add(edge["name"])
            near[edge["name"]].add(edge["account"])
        else:
            users.setdefault((edge["kind"], edge["name"]), set()).add(edge["account"])
    for group in users.values():
        for name in group:
            near[name] |= group
    frauds = {name for name, fraud in zip(simulated.accounts.to_pylist(), simulated.fraud, strict=True) if fraud}
    assert 10 < len(frauds) < len(near) - 10
    for name, found in zip(near, simulated.features[:, 3], strict=True):
        reached, frontier, expected = {name}, {name}, np.nan
        for step in range(1, MOST_HOPS + 1):
            frontier = {other for one in frontier for other in near[one]} - reached
            reached |= frontier
            if frontier & frauds:
                expected = step
                break
        assert np.array_equal(found, expected, equal_nan=True), name


def test_the_same_payments_give_the_same_snapshot_in_any_order(
    payments: list[pa.RecordBatch], simulated: Links, tmp_path: Path
) -> None:
    """The id depends on the content alone, not on batches; another moment has another id; reading gives the same."""
    settings = LinkSettings(hub=12)
    first = save(tmp_path, simulated, settings)
    cut = [piece for one in reversed(payments) for piece in (one.slice(len(one) // 2), one.slice(0, len(one) // 2))]
    assert save(tmp_path, collect(cut, None, settings), settings) == first
    other = save(tmp_path, collect(payments, first.as_of - DAY, settings), settings)
    assert [one.id for one in snapshots(tmp_path)] == [other.id, first.id]
    about, links = load(tmp_path)
    assert about == first
    assert links.features.tobytes() == simulated.features.tobytes()
    assert links.group.tolist() == simulated.group.tolist()
    assert links.edges.equals(simulated.edges)
    assert load(tmp_path, other.id)[0] == other


def test_a_missing_or_damaged_snapshot_is_named(tmp_path: Path) -> None:
    """A missing snapshot, an unknown id, an id that is a path, and a corrupt file each give one sentence."""
    for wrong in ("", "0123", "../x"):
        with pytest.raises(InputError, match="has no links"):
            load(tmp_path, wrong)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "links.json").write_text("{}")
    with pytest.raises(InputError, match="not a snapshot"):
        load(tmp_path, "bad")


def test_days_forget(payments: list[pa.RecordBatch]) -> None:
    """A history that continues gives the links of a new one over the same days."""
    settings = LinkSettings(days=3)
    history = LinkHistory(settings)
    midnight = (pc.min(payments[-1].column("event_time")).as_py() // DAY) * DAY
    for one in payments[:-1]:
        history.add(one)
        history.links(pc.max(one.column("event_time")).as_py())
    assert history.links(midnight).features.tobytes() == collect(payments, midnight, settings).features.tobytes()


def test_a_neighbourhood_shows_what_is_shared_with_whom(ring: Links) -> None:
    """It has the other accounts on the device, one hop away, with their frauds; more hops show at least as many."""
    found = neighbourhood(ring, "b")
    assert [(one["account"], one["hops"], one["fraud"]) for one in found["neighbours"]] == [
        ("a", 1, True), ("c", 1, False), ("d", 1, False)
    ]  # fmt: skip
    assert {edge["name"] for edge in found["links"]} == {"D"}
    assert len(neighbourhood(ring, "b", 3)["neighbours"]) == 3
    with pytest.raises(InputError, match="nobody"):
        neighbourhood(ring, "nobody")


@pytest.mark.runs("links build", "links list", "links show")
def test_the_command_builds_lists_and_shows(payments: list[pa.RecordBatch], tmp_path: Path) -> None:
    """Build prints the id, list finds it, show prints the neighbourhood as text and as JSON."""
    file, folder = tmp_path / "payments.parquet", str(tmp_path / "links")
    pq.write_table(pa.Table.from_batches(payments), file)
    runner = CliRunner()

    def run(*arguments: str) -> tuple[int, str]:
        result = runner.invoke(app, ("links", *arguments, "--folder", folder))
        return result.exit_code, result.stdout

    assert run("list") == (0, f"there are no links in {folder}\n")
    code, text = run("build", str(file), "--json")
    built = json.loads(text.splitlines()[-1])
    assert (code, built["accounts"] > 300) == (0, True)
    assert json.loads(run("list", "--json")[1])["snapshots"][0]["id"] == built["id"]
    account = load(Path(folder))[1].edges["account"][0].as_py()
    code, text = run("show", account, "--json")
    assert (code, json.loads(text)["snapshot"]["id"], json.loads(text)["account"]) == (0, built["id"], account)
    assert f"{account}: a group of" in run("show", account)[1]
    assert isinstance(runner.invoke(app, ("links", "show", "nobody", "--folder", folder)).exception, InputError)
