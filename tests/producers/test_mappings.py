import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from producers.files import read_batches
from producers.frame import rows_to_labels, rows_to_transactions
from producers.mapping import load_mapping, mapping_names
from vedette.clock import DAY, parse_time
from vedette.errors import InputError
from vedette.events import Label, Transaction

Read = Callable[[str, str], tuple[list[Transaction], list[Label], list[str]]]

COMPONENTS = [f"V{number}" for number in range(1, 29)]

# The published files' own header lines with made-up rows below them.
HANDBOOK = """\
TRANSACTION_ID,TX_DATETIME,CUSTOMER_ID,TERMINAL_ID,TX_AMOUNT,TX_TIME_SECONDS,TX_TIME_DAYS,TX_FRAUD,TX_FRAUD_SCENARIO
7,2018-04-01 00:00:31,596,3156,57.16,31,0,0,0
8,2018-04-01 00:02:10,4961,3412,281.51,130,0,1,1
"""
ULB = f"""\
"Time",{",".join(f'"{name}"' for name in COMPONENTS)},"Amount","Class"
0,{",".join(["-1.5"] * 28)},149.62,"0"
3661,{",".join(["0.25"] * 28)},0,"1"
"""
SPARKOV = """\
,trans_date_trans_time,cc_num,merchant,category,amt,first,last,gender,street,city,state,zip,lat,long,city_pop,job,dob,\
trans_num,unix_time,merch_lat,merch_long,is_fraud
0,2019-01-01 00:00:18,2700000000002095,"fraud_Kirk, Webb and Sons",misc_net,4.97,Ann,Bell,F,1 High Road,Mill,NC,28600,\
36.1,-81.2,3500,"Engineer, civil",1988-03-09,0b242abb623afc57,1325376018,36.011293,-82.048315,0
1,2019-01-01 00:00:44,630400000022,fraud_Hill Ltd,gas_transport,107.23,Eve,Cole,F,2 Low Street,Ford,WA,99160,\
48.9,-118.2,149,Teacher,1978-06-21,1f76529f85747340,1325376044,49.159047,-118.186462,1
"""
PAYSIM = """\
step,type,amount,nameOrig,oldbalanceOrg,newbalanceOrig,nameDest,oldbalanceDest,newbalanceDest,isFraud,isFlaggedFraud
1,PAYMENT,9839.64,C1231006815,170136.0,160296.36,M1979787155,0.0,0.0,0,0
5,TRANSFER,181.0,C1305486145,181.0,0.0,C553264065,0.0,0.0,1,0
"""
TABFORMER = """\
User,Card,Year,Month,Day,Time,Amount,Use Chip,Merchant Name,Merchant City,Merchant State,Zip,MCC,Errors?,Is Fraud?
0,1,2002,9,1,06:21,$134.09,Swipe Transaction,3527213246127876953,La Verne,CA,91750.0,742,,No
0,1,2002,9,1,06:42,$1200.00,Online Transaction,-727612092139916043, ONLINE,,,5411,Bad CVV,Yes
0,1,2002,9,1,07:00,$-99.00,Swipe Transaction,-727612092139916043,La Verne,CA,91750.0,5411,,No
"""


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads CSV text through a mapping: its transactions, all labels, and what was rejected."""

    def through(name: str, content: str) -> tuple[list[Transaction], list[Label], list[str]]:
        path = tmp_path / f"{name}.csv"
        path.write_text(content, encoding="utf-8")
        rejects: list[str] = []
        batches = list(read_batches(path, load_mapping(name), on_reject=lambda reject: rejects.append(str(reject))))
        transactions = [row for batch in batches for row in rows_to_transactions(batch)]
        labels = [label for batch in batches for label in rows_to_labels(batch, name, frauds_only=False)]
        return transactions, labels, rejects

    return through


def test_handbook(read: Read) -> None:
    """The handbook's columns, with the label known seven days later."""
    (first, second), labels, rejects = read("handbook", HANDBOOK)
    assert first == Transaction(
        transaction_id="7",
        account_id="596",
        amount=5716,
        currency="EUR",
        event_time=parse_time("2018-04-01T00:00:31"),
        merchant_id="3156",
    )
    assert [label.fraud for label in labels] == [False, True]
    assert labels[1].labelled_at == second.event_time + 7 * DAY
    assert not rejects


def test_ulb(read: Read) -> None:
    """Every row is an account of its own, and the 28 components travel along."""
    (first, second), labels, rejects = read("ulb", ULB)
    assert (first.account_id, second.account_id) == ("ulb-card-1", "ulb-card-2")
    assert first.extra == dict.fromkeys(COMPONENTS, -1.5)
    assert second.event_time - first.event_time == 3_661_000
    assert (first.amount, second.amount) == (14962, 0)
    assert [label.fraud for label in labels] == [False, True]
    assert not rejects


def test_sparkov(read: Read) -> None:
    """Place, channel and category code come from the merchant's columns."""
    (first, second), labels, rejects = read("sparkov", SPARKOV)
    assert first == Transaction(
        transaction_id="0b242abb623afc57",
        account_id="2700000000002095",
        amount=497,
        currency="USD",
        event_time=parse_time("2019-01-01T00:00:18"),
        merchant_id="fraud_Kirk, Webb and Sons",
        mcc="5969",
        channel="ecom",
        country="US",
        lat=36.011293,
        lon=-82.048315,
    )
    assert (second.channel, second.mcc) == ("pos", "5541")
    assert [label.fraud for label in labels] == [False, True]
    assert not rejects


def test_paysim(read: Read) -> None:
    """A destination is a merchant or a payee by its first letter, and steps are hours."""
    (first, second), labels, rejects = read("paysim", PAYSIM)
    assert (first.merchant_id, first.payee, first.channel) == ("M1979787155", None, "pos")
    assert (second.merchant_id, second.payee, second.channel) == (None, "C553264065", "transfer")
    assert second.event_time - first.event_time == 4 * 3_600_000
    assert (first.transaction_id, first.amount, first.balance) == ("paysim-1", 983964, 17013600)
    assert [label.fraud for label in labels] == [False, True]
    assert not rejects


def test_tabformer(read: Read) -> None:
    """Time comes from four columns, the account from two, and a refund is rejected by line and column."""
    (first, second), labels, rejects = read("tabformer", TABFORMER)
    assert first == Transaction(
        transaction_id="tabformer-1",
        account_id="0-1",
        amount=13409,
        currency="USD",
        event_time=parse_time("2002-09-01T06:21"),
        merchant_id="3527213246127876953",
        mcc="0742",
        channel="pos",
    )
    assert (second.channel, second.merchant_id) == ("ecom", "-727612092139916043")
    assert [label.fraud for label in labels] == [False, True]
    assert rejects == ["line 4, Amount '$-99.00' is less than 0"]


def test_every_mapping_that_comes_along_is_valid_and_says_what_it_is() -> None:
    """None can be listed and then fail to load."""
    assert mapping_names() == ["handbook", "paysim", "sparkov", "tabformer", "ulb", "vedette"]
    for name in mapping_names():
        mapping = load_mapping(name)
        assert mapping.name == name
        assert mapping.about


VALID = """\
name = "mine"
about = "mine"
[fields]
transaction_id = { column = "id" }
account_id = { column = "card" }
amount = { column = "amount" }
currency = { constant = "EUR" }
event_time = { column = "time" }
merchant_id = { column = "shop" }
"""


def test_ones_own_mapping_is_read_from_a_path(tmp_path: Path) -> None:
    """What ends in .toml is a file, so anybody can map their own."""
    path = tmp_path / "mine.toml"
    path.write_text(VALID, encoding="utf-8")
    assert load_mapping(str(path)).columns() == ["id", "card", "amount", "time", "shop"]


def test_the_mapping_in_the_manual_is_valid(tmp_path: Path) -> None:
    """Who starts from the manual's example starts from one that loads."""
    manual = (Path(__file__).parents[2] / "docs" / "producers.md").read_text(encoding="utf-8")
    path = tmp_path / "bank.toml"
    path.write_text(manual.split("```toml\n")[1].split("```")[0], encoding="utf-8")
    assert load_mapping(str(path)).name == "bank"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('account_id = { column = "card" }', "", "lacks account_id"),
        ('merchant_id = { column = "shop" }', "", "no counterparty"),
        ("merchant_id", "merchant", "there is no field 'merchant'"),
        ('{ column = "card" }', '{ column = "card", constant = "x" }', "account_id.* has 2 sources"),
        ('{ column = "card" }', "{ }", "account_id.* has 0 sources"),
        ('{ column = "time" }', '{ column = "time", form = "weeks" }', r"weeks.*fields"),
        ('{ column = "time" }', '{ columns = ["a", "b"] }', "has 2 columns"),
        ('{ column = "time" }', '{ column = "time", origin = "then" }', "origin.*then"),
        ('{ column = "card" }', '{ colum = "card" }', "colum"),
        ('name = "mine"', "name = mine", "line 1"),
        ('about = "mine"', 'about = "mine"\nextra = ["a", "a"]', "extra"),
    ],
)
def test_a_mistake_in_a_mapping_is_told_with_its_place(tmp_path: Path, old: str, new: str, said: str) -> None:
    """The message names the file and the field or line."""
    path = tmp_path / "mine.toml"
    path.write_text(VALID.replace(old, new), encoding="utf-8")
    with pytest.raises(InputError, match=f"mine.toml.*{said}"):
        load_mapping(str(path))


@pytest.mark.parametrize("name", ["nope", "nope.toml", "../handbook"])
def test_an_unknown_mapping_is_named(name: str) -> None:
    """Neither a name nor a file: the message repeats it."""
    with pytest.raises(InputError, match=name):
        load_mapping(name)


def test_columns_are_quoted_as_csv_writes_them(read: Read) -> None:
    """What Python's own csv module writes is read back, quotes and commas included."""
    rows = list(csv.reader(SPARKOV.splitlines()))
    rows[1][3] = 'fraud_"Kirk", Webb'
    lines = [",".join('"' + value.replace('"', '""') + '"' for value in row) for row in rows]
    (first, _), _, rejects = read("sparkov", "\n".join(lines) + "\n")
    assert first.merchant_id == 'fraud_"Kirk", Webb'
    assert not rejects
