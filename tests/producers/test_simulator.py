from dataclasses import replace
from itertools import islice

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from producers.field_ranges import field_ranges
from producers.frame import SCHEMA
from producers.simulation import HANDBOOK, SCENARIOS, Simulation, chosen_scenarios
from producers.simulator import simulate
from producers.world import reachable
from vedette.clock import DAY, HOUR, MINUTE
from vedette.errors import InputError

PLAIN = Simulation(
    customers=800,
    terminals=1_600,
    days=40,
    seed=3,
    transfers=0,
    returns=0,
    trips_per_day=0,
    scenarios=chosen_scenarios(HANDBOOK, []),
)


def table(config: Simulation) -> pa.Table:
    """Return all batches of a simulation."""
    return pa.Table.from_batches(simulate(config), SCHEMA)


def frame(config: Simulation) -> pd.DataFrame:
    """Return the same as a pandas frame."""
    return table(config).to_pandas()


@pytest.fixture(scope="module")
def plain() -> pd.DataFrame:
    """The handbook's world alone."""
    return frame(PLAIN)


@pytest.fixture(scope="module")
def full() -> pd.DataFrame:
    """All scenarios, often."""
    often = dict.fromkeys(SCENARIOS, 6.0) | {"large_amount": 220.0, "tested_card": 0.5, "mule_forward": 3.0}
    return frame(Simulation(customers=800, terminals=1_600, days=20, seed=5, scenarios=often))


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    """A simulation can be repeated bit for bit."""
    config = Simulation(customers=200, terminals=400, days=5, seed=1)
    assert table(config).equals(table(config))
    assert not table(config).equals(table(replace(config, seed=2)))


def test_a_longer_simulation_begins_like_a_shorter_one() -> None:
    """Days do not depend on how many follow."""
    short = table(Simulation(customers=200, terminals=400, days=3))
    assert table(Simulation(customers=200, terminals=400, days=6)).slice(0, short.num_rows).equals(short)


def test_switching_a_scenario_off_leaves_the_other_payments_as_they_are() -> None:
    """Scenarios that add payments use separate random streams."""
    config = Simulation(customers=200, terminals=400, days=5)
    with_all = frame(config)
    without = frame(replace(config, scenarios=chosen_scenarios([], ["card_testing"])))
    rest = with_all[with_all.scenario != "card_testing"]
    assert rest.amount.tolist() == without.amount.tolist()
    assert rest.event_time.tolist() == without.event_time.tolist()


def test_some_payments_come_back(full: pd.DataFrame) -> None:
    """A hundredth of honest payments at merchants is reversed within minutes, or refunded later, wholly or in part."""
    back = full[full.kind.notna()]
    pairs = back.merge(full, left_on="original_id", right_on="transaction_id", suffixes=("", "_paid"))
    assert len(pairs) == len(back) > 50
    assert (pairs.account_id == pairs.account_id_paid).all()
    assert (pairs.merchant_id == pairs.merchant_id_paid).all()
    assert (pairs.amount <= pairs.amount_paid).all()
    assert not (pairs.fraud | pairs.fraud_paid).any()
    after = pairs.event_time - pairs.event_time_paid
    reversal = pairs.kind == "reversal"
    assert set(pairs.kind) == {"reversal", "refund"}
    assert (after[reversal] < HOUR).all()
    assert (pairs.amount == pairs.amount_paid)[reversal].all()
    assert after[~reversal].min() >= DAY
    assert (pairs.amount < pairs.amount_paid).any()
    payments = full[full.kind.isna()]
    assert payments.transaction_id.tolist() == [f"S5-{number}" for number in range(len(payments))]


def test_days_are_made_one_at_a_time() -> None:
    """A hundred years begin at once, so memory cannot depend on the length."""
    first = next(simulate(Simulation(customers=100, terminals=200, days=30_000, start=0)))
    assert first.column("event_time")[-1].as_py() < DAY


def test_payments_are_in_order_of_time_with_ids_of_their_own(full: pd.DataFrame) -> None:
    """The stream is sorted by event time and no id comes twice."""
    assert full.event_time.is_monotonic_increasing
    assert full.transaction_id.is_unique


def test_every_value_is_one_that_events_allow(full: pd.DataFrame) -> None:
    """What is simulated passes the same limits as what is read from files."""
    limits = field_ranges()
    rows = pa.Table.from_pandas(full, SCHEMA, preserve_index=False).combine_chunks().to_batches()[0]
    for name in SCHEMA.names:
        if name in limits:
            for wrong, reason in limits[name].check(rows.column(name)):
                assert not wrong.any(), f"{name} {reason}"
    assert (full.merchant_id.isna() != full.payee.isna()).all()


def test_amounts_and_counts_follow_the_published_distributions(plain: pd.DataFrame) -> None:
    """There are almost two payments a day, with amounts around 53 and times around noon."""
    # 800 rates from U(0, 4): mean 2, standard error 0.04; a normal time falls inside the day with 0.9692.
    assert len(plain) / (800 * 40) == pytest.approx(2 * 0.9692, abs=0.17)
    genuine = plain[plain.scenario != "compromised_card"]
    assert genuine.amount.mean() / 100 == pytest.approx(53.7, abs=4)  # the handbook reports a mean of 53.63
    hours = (plain.event_time - PLAIN.start) % DAY / HOUR
    assert hours.mean() == pytest.approx(12, abs=0.1)
    # A normal of 20,000 s cut at +-43,200 s has a standard deviation of 18,243 s.
    assert hours.std() == pytest.approx(18_243 / 3600, abs=0.1)


def test_large_amounts_are_fraud_and_nothing_smaller_is_called_so(plain: pd.DataFrame) -> None:
    """In scenario 1 every payment above 220 is a fraud."""
    assert plain[plain.amount > 22_000].fraud.all()
    assert (plain[plain.scenario == "large_amount"].amount > 22_000).all()


def test_a_compromised_terminal_is_so_for_28_days(plain: pd.DataFrame) -> None:
    """In scenario 2 there are two terminals a day, and a compromised terminal has no genuine payment."""
    day = (plain.event_time - PLAIN.start) // DAY
    terminals = plain.assign(day=day)[plain.scenario == "compromised_terminal"].groupby("merchant_id").day
    single = terminals.agg(["min", "max"])
    assert ((single["max"] - single["min"]) < 28 + 28).all()
    fraction = (plain.scenario == "compromised_terminal")[day >= 28].mean()
    assert fraction == pytest.approx(2 * 28 / 1_600, rel=0.35)
    for terminal, span in single.iterrows():
        if span["max"] - span["min"] < 28:
            there = plain[(plain.merchant_id == terminal) & (day >= span["min"]) & (day <= span["max"])]
            assert there.fraud.all()


def test_a_compromised_card_spends_fivefold_a_third_of_the_time(plain: pd.DataFrame) -> None:
    """In scenario 3 three customers a day, for 14 days, spend five times the amount in a third of their payments."""
    day = (plain.event_time - PLAIN.start) // DAY
    stolen = plain.scenario == "compromised_card"
    assert stolen[day >= 14].mean() == pytest.approx(3 * 14 / 800 / 3, rel=0.3)
    assert plain[stolen].amount.mean() / plain[~plain.fraud].amount.mean() == pytest.approx(5, rel=0.3)
    assert (plain[stolen].amount % 5 == 0).all()


def test_labels_arrive_after_the_delay_and_some_later() -> None:
    """The truth is known label_delay_days after the payment; with late labels, some up to 30 days after that."""
    exact = frame(Simulation(customers=100, terminals=200, days=5, label_delay_days=2))
    assert (exact.labelled_at - exact.event_time == 2 * DAY).all()
    late = frame(Simulation(customers=100, terminals=200, days=5, label_delay_days=2, late_labels=0.3))
    extra = late.labelled_at - late.event_time - 2 * DAY
    assert (extra > 0).mean() == pytest.approx(0.3, abs=0.06)
    assert extra.between(0, 30 * DAY).all()


def test_balance_falls_by_each_payment_and_rises_by_what_comes_in(full: pd.DataFrame) -> None:
    """Within a day, a balance is the previous one, less the payment, plus what others have paid to the account since.

    What comes back to the payer leaves the receiver again.
    """
    full = full.assign(amount=full.amount.where(full.kind.isna(), -full.amount))
    day = (full.event_time - Simulation().start) // DAY
    number = full.account_id.str[1:].astype(int)
    paid = pd.DataFrame({"account": number, "change": -full.amount, "row": full.index, "paid": True})
    came = full[full.payee.str.startswith("C", na=False)]
    payee = came.payee.str[1:].astype(int)
    came_in = pd.DataFrame({"account": payee, "change": came.amount, "row": came.index, "paid": False})
    book = pd.concat([paid, came_in]).sort_values(["account", "row"], kind="stable")
    book["day"] = day[book.row].to_numpy()
    book["so_far"] = book.groupby(["account", "day"]).change.cumsum() - book.change
    lines = book[book.paid].set_index("row")
    opening = full.balance - lines.so_far
    by_day = opening.groupby([number, day])
    assert (by_day.min() == by_day.max()).all()
    assert (came_in.account.isin(number)).any()


def test_card_testing_is_many_tiny_payments_then_a_large_one(full: pd.DataFrame) -> None:
    """There are 20 to 40 online payments below two units within ten minutes, followed by a large one."""
    for _, story in full[full.scenario == "card_testing"].groupby("device_id"):
        small = story.iloc[:-1]
        assert 20 <= len(small) <= 40
        assert (small.amount < 200).all()
        assert small.event_time.iloc[-1] - small.event_time.iloc[0] < 10 * MINUTE
        assert story.amount.iloc[-1] >= 30_000


def test_a_takeover_comes_from_a_new_device_and_country(full: pd.DataFrame) -> None:
    """No genuine payment ever used the device or the address of a takeover."""
    taken, genuine = full[full.scenario == "account_takeover"], full[~full.fraud]
    assert len(taken) > 100
    assert not set(taken.device_id) & set(genuine.device_id)
    assert not set(taken.ip_address) & set(genuine.ip_address)
    assert not set(taken.country) & {"FR", "BE", "DE", "AT"}


def test_impossible_travel_follows_a_payment_far_away_within_the_hour(full: pd.DataFrame) -> None:
    """Each fraud in a foreign shop follows a genuine payment at home by less than an hour."""
    travel = full[full.scenario == "impossible_travel"]
    assert len(travel) > 80
    for row in travel.itertuples():
        before = full[
            (full.account_id == row.account_id)
            & full.event_time.between(row.event_time - HOUR, row.event_time - 1)
            & (full.channel == "pos")
        ]
        assert (np.hypot(before.lat - row.lat, before.lon - row.lon) > 10).any()


def test_a_limit_walk_rises_to_just_under_the_limit(full: pd.DataFrame) -> None:
    """Amounts only grow, and add up to 97 to 100 % of the daily limit of 1,000 units."""
    for _, story in full[full.scenario == "limit_walk"].groupby("device_id"):
        assert story.amount.is_monotonic_increasing
        assert 0.96 < story.amount.sum() / 100_000 < 1


def test_a_mule_is_paid_by_many_accounts_in_a_day(full: pd.DataFrame) -> None:
    """At least ten transfers go to a payee that no genuine transfer ever names."""
    mules = full[full.scenario == "mule_payee"]
    assert (mules.groupby("payee").size() >= 10).all()
    assert not set(mules.payee) & set(full[~full.fraud].payee)


def test_a_ring_tries_many_cards_at_one_shop_and_uses_them_later(full: pd.DataFrame) -> None:
    """At least 40 cards pay under 4 units within 40 minutes; later payments on them are larger and elsewhere."""
    tries, used = full[full.scenario == "card_testing_ring"], full[full.scenario == "tested_card"]
    assert (tries.amount < 400).all()
    assert tries.groupby("merchant_id").account_id.nunique().max() >= 40
    first = tries.groupby("account_id").event_time.min()
    assert set(used.account_id) <= set(first.index)
    assert (used.event_time.to_numpy() > first[used.account_id].to_numpy()).all()
    assert (used.amount >= 4_000).all()


def test_a_takeover_ring_has_one_device_for_many_accounts(full: pd.DataFrame) -> None:
    """At least ten accounts within half a day, from a device that nobody else has."""
    ring = full[full.scenario == "takeover_ring"]
    by_device = ring.groupby("device_id")
    whole = by_device.event_time.max() < full.event_time.max() - DAY  # the last may reach beyond the end
    assert (by_device.account_id.nunique()[whole] >= 10).all()
    assert (by_device.event_time.agg(np.ptp) < 13 * HOUR).all()
    assert not set(ring.device_id) & set(full[full.scenario != "takeover_ring"].device_id)


def test_a_bust_out_merchant_sells_honestly_before_it_charges_stolen_cards(full: pd.DataFrame) -> None:
    """The shop did not exist before, and its first sales are genuine."""
    for _, shop in full[full.merchant_id.isin(full[full.scenario == "bust_out_merchant"].merchant_id)].groupby(
        "merchant_id"
    ):
        assert not shop.fraud.iloc[0]
        assert shop.event_time.iloc[-1] - shop.event_time.iloc[0] < 7 * DAY


def test_a_mule_account_pays_on_what_it_received(full: pd.DataFrame) -> None:
    """The payee is an account of the institution, and most of the money leaves it within the hour."""
    received = full[full.scenario == "mule_account"]
    for account, out in full[full.scenario == "mule_forward"].groupby("account_id"):
        came = received[received.payee == account]
        before = came[came.event_time <= out.event_time.iloc[-1]]
        assert before.amount.sum() * 0.98 >= out.amount.sum() * 0.99
        assert out.event_time.iloc[0] - before.event_time.iloc[-1] < HOUR


def test_scams_have_payees_that_nobody_paid_before(full: pd.DataFrame) -> None:
    """Half of them are accounts of the institution."""
    scams = full[full.scenario == "app_scam"]
    assert (scams.groupby("payee").size() > 1).mean() > 0.9
    assert 0.3 < scams.drop_duplicates("payee").payee.str.startswith("C").mean() < 0.7


@pytest.mark.parametrize(
    ("name", "entity", "accounts"),
    [
        ("ticket_sale", "merchant_id", 100),
        ("charity_appeal", "payee", 80),
        ("landlord", "payee", 10),
        ("shop_launch", "merchant_id", 5),
        ("family_device", "device_id", 3),
        ("carrier_address", "ip_address", 60),
        ("public_computer", "device_id", 100),
    ],
)
def test_look_alikes_are_honest_crowds_at_one_entity(full: pd.DataFrame, name: str, entity: str, accounts: int) -> None:
    """What a naive counter would call an attack is named, and none of it is fraud."""
    crowd = full[full.scenario == name]
    assert not crowd.fraud.any()
    assert crowd.groupby(entity).account_id.nunique().median() >= accounts


def test_travellers_pay_abroad_and_are_genuine() -> None:
    """A trip consists of genuine payments in a far country, which no rule may call fraud."""
    away = frame(replace(PLAIN, trips_per_day=20, days=10))
    abroad = away[away.country.isin(["US", "BR", "TH", "NG", "AE", "MX", "ID", "ZA"]) & (away.channel == "pos")]
    assert len(abroad) > 50
    assert not abroad.fraud.all()


def test_reachable_places_are_those_within_the_radius() -> None:
    """The cell search finds the same pairs as comparing every pair."""
    rng = np.random.default_rng(0)
    home_x, home_y = rng.uniform(0, 100, (2, 60))
    x, y = rng.uniform(0, 100, (2, 300))
    for radius in (0.5, 5.0, 30.0, 150.0):
        first, places = reachable(home_x, home_y, x, y, radius)
        for home in range(60):
            near = np.flatnonzero(np.hypot(x - home_x[home], y - home_y[home]) < radius)
            assert places[first[home] : first[home + 1]].tolist() == near.tolist()


def test_customers_without_a_terminal_pay_nowhere() -> None:
    """A world without reachable terminals has no payments, instead of payments elsewhere."""
    assert list(islice(simulate(Simulation(customers=5, terminals=1, days=3, radius=0.01)), 1)) == []


@pytest.mark.parametrize(
    ("words", "without", "expected"),
    [
        (["card_testing"], [], {"card_testing": 1}),
        (["card_testing=5", "large_amount"], ["large_amount"], {"card_testing": 5}),
        ([], [name for name in SCENARIOS if name != "mule_payee"], {"mule_payee": 0.2}),
    ],
)
def test_scenarios_are_chosen_by_words(words: list[str], without: list[str], expected: dict[str, float]) -> None:
    """Naming scenarios leaves the others out; a number may follow."""
    assert chosen_scenarios(words, without) == expected


@pytest.mark.parametrize("words", [["teleport"], ["card_testing=often"]])
def test_a_wrong_scenario_is_named(words: list[str]) -> None:
    """The message repeats what was asked for."""
    with pytest.raises(InputError, match=words[0]):
        chosen_scenarios(words, [])


@pytest.mark.parametrize(
    "wrong", [{"days": 0}, {"late_labels": 1.5}, {"start": 4_100_000_000_000}, {"scenarios": {"card_testing": -1}}]
)
def test_an_impossible_simulation_is_refused(wrong: dict[str, float]) -> None:
    """A value out of range is named before anything is simulated."""
    with pytest.raises(InputError):
        Simulation(**wrong)
