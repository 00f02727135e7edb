import csv
from collections.abc import Callable
from pathlib import Path

import lightgbm
import msgspec
import numpy as np
import pytest

from models.train import TrainingConfig, boost
from producers.files import read_batches
from producers.frame import rows_to_labels, rows_to_transactions
from producers.mapping import load_mapping, mapping_names
from vedette.clock import DAY, parse_time
from vedette.errors import InputError
from vedette.events import Label, Transaction, canonical, is_extra_name

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
    """Every row is a separate account, and the 28 components are carried as extra columns."""
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
    """The time comes from four columns, the account from two, and a negative amount is a refund."""
    (first, second, refund), labels, rejects = read("tabformer", TABFORMER)
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
    assert (refund.kind, refund.amount, refund.merchant_id) == ("refund", 9900, second.merchant_id)
    assert (first.kind, second.kind) == (None, None)
    assert [label.fraud for label in labels] == [False, True, False]
    assert not rejects


STATEMENT = """\
id,card,amount,shop,time,kind,of
1,c,-10.00,s,2020-01-01,,
2,c,25.00,,2020-01-02,,
3,c,-3.00,,2020-01-03,Refund,
4,c,10.00,,2020-01-04,reversal,1
5,c,10.00,,2020-01-05,reversal,
6,c,-0.00,s,2020-01-06,,
7,c,5.00,,2020-01-07,withdrawal,
8,c,-5.00,s,2020-01-08,withdrawal,
9,c,1.00,s,2020-01-09,gift,
"""


@pytest.mark.parametrize("negative", ["refund", "payment"])
def test_the_sign_of_an_amount_says_in_which_direction_it_goes(tmp_path: Path, negative: str) -> None:
    """A negative amount is a refund or, in statements, a payment; a kind that the file gives says it more precisely."""
    more = 'kind = { column = "kind", optional = true }\noriginal_id = { column = "of", optional = true }\n'
    text = VALID.replace('"amount" }', f'"amount", negative = "{negative}" }}') + more
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    mapping = load_mapping(str(tmp_path / "mine.toml"))
    file = tmp_path / "statement.csv"
    file.write_text(STATEMENT, encoding="utf-8")
    rejects: list[str] = []
    batches = read_batches(file, mapping, on_reject=lambda reject: rejects.append(str(reject)))
    rows = {row.transaction_id: row for batch in batches for row in rows_to_transactions(batch)}
    assert {name: row.kind for name, row in rows.items()} == {
        **({"1": "refund"} if negative == "refund" else {"1": None, "2": "deposit", "8": "withdrawal"}),
        "3": "refund", "4": "reversal", "6": None,
    }  # fmt: skip
    assert {name: row.amount for name, row in rows.items()}["1"] == 1000
    assert rows["4"].original_id == "1"
    refused = {reason.split(",")[0].removeprefix("line "): reason for reason in rejects}
    assert "names neither merchant nor payee" in refused["8"]
    assert "does not name what it takes back" in refused["6"]
    assert "is not one of authorisation, completion, deposit" in refused["10"]
    assert ("9" in refused, "3" in refused) == ((True, True) if negative == "refund" else (False, False))

    whole = file.read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join(line.rsplit(",", 2)[0] for line in whole[:2]) + "\n", encoding="utf-8")
    (row,) = [row for batch in read_batches(file, mapping, on_reject=print) for row in rows_to_transactions(batch)]
    assert row.kind == ("refund" if negative == "refund" else None)


def test_every_mapping_that_comes_along_is_valid_and_says_what_it_is() -> None:
    """No listed mapping fails to load."""
    assert mapping_names() == [
        "camt054", "handbook", "iso8583", "pacs004", "pacs008", "pain001", "paysim", "sparkov", "tabformer", "ulb",
        "vedette",
    ]  # fmt: skip
    for name in mapping_names():
        mapping = load_mapping(name)
        assert mapping.name == name
        assert mapping.description


VALID = """\
name = "mine"
description = "mine"
[fields]
transaction_id = { column = "id" }
account_id = { column = "card" }
amount = { column = "amount" }
currency = { constant = "EUR" }
event_time = { column = "time" }
merchant_id = { column = "shop" }
"""


def test_ones_own_mapping_is_read_from_a_path(tmp_path: Path) -> None:
    """A name that ends in .toml is a file, so users can write custom mappings."""
    path = tmp_path / "mine.toml"
    path.write_text(VALID, encoding="utf-8")
    assert load_mapping(str(path)).columns() == ["id", "card", "amount", "time", "shop"]


def test_the_mapping_in_the_manual_is_valid(tmp_path: Path) -> None:
    """A user who starts from the manual's example starts from a mapping that loads."""
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
        ('{ column = "time" }', '{ columns = ["a", "b", "c", "d", "e"] }', "has 5 columns"),
        ('{ column = "time" }', '{ column = "time", formats = ["%H:%M"] }', "'%H:%M' does not describe a time"),
        ('{ column = "time" }', '{ column = "time", formats = ["%Y-%m-%d %Q"] }', "does not describe a time"),
        ('{ column = "time" }', '{ column = "time", zone = "Europe/Madird" }', "zone 'Europe/Madird' is not in"),
        ('{ column = "amount" }', '{ column = "amount", decimal = ",", thousands = "," }', "are both ','"),
        ('name = "mine"', 'name = "mine"\nfile = { delimiter = ";;" }', "delimiter is ';;'"),
        ('name = "mine"', 'name = "mine"\nfile = { encoding = "klingon" }', "encoding 'klingon' is unknown"),
        ('name = "mine"', 'name = "mine"\nfile = { encoding = "base64" }', "is no encoding of text"),
        ('name = "mine"', 'name = "mine"\nfile = { zone = "Mars" }', "zone 'Mars' is not in"),
        ('{ column = "card" }', '{ column = "card", signs = { "€" = "EUR" } }', "'signs' has no meaning"),
        ('{ column = "time" }', '{ column = "time", origin = "then" }', "origin.*then"),
        ('{ column = "card" }', '{ colum = "card" }', "colum"),
        ('name = "mine"', "name = mine", "line 1"),
        ('description = "mine"', 'description = "mine"\nextra = ["a", "a"]', "extra"),
        (
            'description = "mine"',
            'description = "mine"\nextra = ["Risk Score"]',
            r"'extra.Risk Score'.*extra = \{ risk_score = ",
        ),
        ('description = "mine"', 'description = "mine"\nextra = ["risk[%]"]', "no model"),
        ('description = "mine"', 'description = "mine"\nextra = [""]', "no model"),
        ('description = "mine"', 'description = "mine"\nextra = {"a:b" = "x"}', "no model"),
        ('"EUR"', '"EUE"', r"fields.currency.* constant: 'EUE' is not an ISO 4217 currency"),
        ('{ column = "amount" }', '{ columns = ["a", "b"] }', "'columns' has no meaning for amount"),
        ('{ column = "amount" }', '{ column = "a", values = { x = "1" } }', "'values' has no meaning for amount"),
        ('{ column = "card" }', '{ column = "card", unit = "minor" }', "'unit' has no meaning for account_id"),
        ('{ column = "time" }', '{ column = "time", prefix = "x" }', "'prefix' has no meaning for event_time"),
    ],
)
def test_a_mistake_in_a_mapping_is_told_with_its_place(tmp_path: Path, old: str, new: str, said: str) -> None:
    """The error names the file and the field or line."""
    path = tmp_path / "mine.toml"
    path.write_text(VALID.replace(old, new), encoding="utf-8")
    with pytest.raises(InputError, match=f"mine.toml.*{said}"):
        load_mapping(str(path))


@pytest.mark.parametrize("name", ["nope", "nope.toml", "../handbook"])
def test_an_unknown_mapping_is_named(name: str) -> None:
    """A value that is neither a name nor a file is repeated in the error."""
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


OWN = """\
name = "mine"
description = "mine"
extra = { risk_score = "Risk Score", share = "share [%]" }
[fields]
transaction_id = { column = "id" }
account_id = { column = "card" }
amount = { column = "amount", remove = "," }
currency = { column = "cur" }
event_time = { column = "time", form = "milliseconds" }
merchant_id = { column = "shop" }
mcc = { column = "mcc" }
channel = { column = "channel" }
country = { column = "country" }
ip_address = { column = "ip" }
fraud = { column = "fraud", values = { F = "yes", G = "no" } }
"""
HEADER = "id,card,amount,cur,time,shop,mcc,channel,country,ip,fraud,Risk Score,share [%]"


def read_own(tmp_path: Path, *lines: str) -> tuple[list[Transaction], list[Label], list[str]]:
    """Return what a custom mapping makes of some lines."""
    (tmp_path / "mine.toml").write_text(OWN, encoding="utf-8")
    path = tmp_path / "x.csv"
    path.write_text("\n".join([HEADER, *lines, ""]), encoding="utf-8")
    rejects: list[str] = []
    mapping = load_mapping(str(tmp_path / "mine.toml"))
    batches = list(read_batches(path, mapping, on_reject=lambda reject: rejects.append(str(reject))))
    return (
        [row for batch in batches for row in rows_to_transactions(batch)],
        [row for batch in batches for row in rows_to_labels(batch, "mine", frauds_only=False)],
        rejects,
    )


def test_codes_of_a_file_become_those_of_events(tmp_path: Path) -> None:
    """500 yen stay 500 yen however the currency is written; likewise country, category, channel and address."""
    for currency in ("JPY", "jpy", "392", "392.0"):
        (row,), (label,), rejects = read_own(
            tmp_path, f"1,c,500,{currency},1522540800000,s,742,ECOM,prk,2001:DB8:0::1,F,0.5,7"
        )
        assert not rejects
        assert (row.amount, row.currency) == (500, "JPY")
        assert (row.mcc, row.channel, row.country, row.ip_address) == ("0742", "ecom", "KP", "2001:db8::1")
        assert row.extra == {"risk_score": 0.5, "share": 7.0}
        assert label.fraud
        assert msgspec.json.decode(msgspec.json.encode(row), type=Transaction) == canonical(row) == row


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1,c,5,EUE,1522540800000,s,,,,,F,,", "cur 'EUE' is not an ISO 4217 currency"),
        ("1,c,5,,1522540800000,s,,,,,F,,", "cur '' is empty"),
        ("1,c,5,EUR,1522540800000,s,fuel,,,,F,,", "mcc 'fuel' is not an ISO 18245 category code"),
        ("1,c,5,EUR,1522540800000,s,,wire,,,F,,", "channel 'wire' is not one of atm, ecom, phone, pos, transfer"),
        ("1,c,5,EUR,1522540800000,s,,,ZZ,,F,,", "country 'ZZ' is not an ISO 3166-1 country"),
        ("1,c,5,EUR,1522540800000,s,,,,1.2.3.4:5,F,,", "ip '1.2.3.4:5' is not an IP address"),
        ('1,c,"12,34",EUR,1522540800000,s,,,,,F,,', "amount '12,34' is not an amount"),
        ("1,c,nan,EUR,1522540800000,s,,,,,F,,", "amount 'nan' is empty"),
        ("1,c,inf,EUR,1522540800000,s,,,,,F,,", "amount 'inf' is not an amount"),
        ("1,c,-1e14,EUR,1522540800000,s,,,,,F,,", "amount '-1e14' is not an amount"),
        ("1,c,5,EUR,1522540800000,s,,,,,1,,", "fraud '1' is not one of F, G"),
        (
            "1,c,5,EUR,1522540800,s,,,,,F,,",
            """time '1522540800' is before 1980-01-01: it looks like form = "seconds\"""",
        ),
        ("1,c,5,EUR,1522540800000000,s,,,,,F,,", 'is after 2100-01-01: it looks like form = "microseconds"'),
    ],
)
def test_what_is_not_a_code_an_amount_or_a_time_is_rejected(tmp_path: Path, line: str, said: str) -> None:
    """The error has line, column and value, with the reason; the next row is read."""
    rows, _, rejects = read_own(tmp_path, line, "2,c,0,EUR,1522540800000,s,,,,,G,,")
    assert [(row.transaction_id, row.amount) for row in rows] == [("2", 0)]
    assert len(rejects) == 1
    assert said in rejects[0]


def test_an_extra_value_can_be_trained_on_and_loaded() -> None:
    """Every name that a mapping accepts is one that a booster keeps; others are refused before training."""
    rng = np.random.default_rng(0)
    matrix, fraud = rng.random((400, 2)), rng.random(400) < 0.3
    names = ("extra.größe", "extra.a/b=c|d%;'")
    assert all(is_extra_name(name.removeprefix("extra.")) for name in names)
    text = boost(matrix, fraud, TrainingConfig(trees=2), names).model_to_string()
    assert tuple(lightgbm.Booster(model_str=text).feature_name()) == names
    for unfit in ("Risk Score", "risk[%]", "a\tb", "a\u00a0b", 'a"b', "a,b", "a:b", "a{b", "a<b", "", "x" * 65):
        assert not is_extra_name(unfit)
        with pytest.raises(InputError, match="a model cannot have a feature called"):
            boost(matrix, fraud, TrainingConfig(trees=2), ("amount_major", unfit))
