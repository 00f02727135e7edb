"""Messages of card switches become transactions, and nothing of a card but its token and last four digits is kept."""

import gzip
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.files import RejectFile, read_batches
from producers.frame import rows_to_transactions
from producers.iso8583.form import load_form
from producers.iso8583.message import CardMessage, decode, encode, record_of
from producers.iso8583.transaction import transaction_of
from producers.mapping import load_mapping
from tests.card_messages import CARD, KEY, framed, message, reversal
from vedette.card_numbers import CardTokens
from vedette.clock import parse_time
from vedette.errors import InputError, SettingsError
from vedette.events import Transaction
from vedette.settings_base import Secret

CARDS = CardTokens(Secret(text=KEY))
ASCII = load_form("ascii")
NOON = parse_time("2026-07-04T12:00Z")
SENT = parse_time("2026-07-04T10:15Z")


def transaction(raw: bytes, near_ms: int = NOON, form: str = "ascii") -> Transaction:
    """The transaction of a message, as the listener makes it."""
    return transaction_of(record_of(decode(raw, load_form(form)), CARDS, near_ms))


def refusal(raw: bytes) -> str:
    """Why a message is refused."""
    with pytest.raises(InputError) as refused:
        transaction(raw)
    return str(refused.value)


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Reads a file of messages with the mapping that comes with Vedette; gives transactions and rejected rows."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "card-key").write_text(KEY)
    (tmp_path / "near.toml").write_text(
        (Path(load_mapping.__code__.co_filename).parent / "mappings/iso8583.toml")
        .read_text()
        .replace('format = "iso8583"', 'format = "iso8583"\nnear = "2026-07-01"')
    )

    def of(content: bytes, name: str = "cards.iso8583") -> tuple[list[Transaction], list[str]]:
        (tmp_path / name).write_bytes(content)
        with RejectFile(tmp_path / "rejects.csv") as rejects:
            batches = read_batches(tmp_path / name, load_mapping("near.toml"), batch_rows=2, on_reject=rejects.add)
            events = [event for batch in batches for event in rows_to_transactions(batch)]
        path = tmp_path / "rejects.csv"
        return events, path.read_text().splitlines()[1:] if path.exists() else []

    return of


def test_an_authorisation_says_who_pays_what_where_and_when() -> None:
    """Every field that is kept means what docs/iso8583.md says."""
    account = CARDS.account_of(CARD)
    assert transaction(message()) == Transaction(
        transaction_id="123456-000123-20260704101500", account_id=account, amount=12_345, currency="EUR",
        event_time=SENT, merchant_id="SHOP00000000017", mcc="5411", channel="pos", country="ES", kind="authorisation",
    )  # fmt: skip
    assert account.startswith("card-")
    assert account.endswith("-1115")
    assert transaction(message("binary"), form="binary") == transaction(message())


MANY = [
    message(), message(t="0120", f11="000130"), message(f3="010000", f18="6011", f11="000131", f22="051"),
    message(f3="200000", f11="000132"), message(f3="210000", f11="000133"), message(f22="812", f11="000134", f19=None),
    message(f43=None, f11="000135", f22="012", f18=None), message(f42=None, f11="000136", f49="392", f4="000000000500"),
    message(f2=None, f11="000137"), reversal(), reversal(f95="000000002345" + "0" * 30, f11="000138"),
]  # fmt: skip


def test_a_file_gives_what_the_listener_gives(read: Any) -> None:
    """The mapping and the direct way agree on every kind of message."""
    events, rejects = read(framed(*MANY))
    assert rejects == []
    assert events == [transaction(raw) for raw in MANY]
    assert [event.kind for event in events[:5]] == ["authorisation", "authorisation", "withdrawal", "refund", "deposit"]
    assert [event.channel for event in events] == ["pos", "pos", "atm", *["pos"] * 2, "ecom", None, *["pos"] * 4]
    assert len({event.account_id for event in events}) == 1


def test_a_reversal_names_what_it_takes_back() -> None:
    """Acquirer, trace number and time of the original come from DE 90, whose acquirer has leading zeros."""
    back = transaction(reversal())
    assert (back.kind, back.original_id, back.amount) == ("reversal", transaction(message()).transaction_id, 12_345)
    assert back.transaction_id not in (back.original_id, transaction(message()).transaction_id)
    assert transaction(reversal(f95="000000002345" + "0" * 30)).amount == 10_000
    same_trace = transaction(reversal(f7="0704101500", f11="000123"))  # as some networks number them
    assert same_trace.transaction_id != same_trace.original_id
    unknown = reversal(f90="0100" + "000123" + "0704101500" + "0" * 22)
    assert transaction(unknown).original_id == transaction(message()).transaction_id


def test_a_repeated_message_is_the_same_payment() -> None:
    """0101 repeats 0100, and 0121 repeats 0120, field by field."""
    assert transaction(message(t="0101")) == transaction(message())
    assert transaction(reversal(t="0401")) == transaction(reversal())


@pytest.mark.parametrize(
    ("sent", "near", "moment"),
    [
        ("1231235959", "2027-01-01T00:00:10Z", "2026-12-31T23:59:59Z"),
        ("0101000001", "2026-12-31T23:59:50Z", "2027-01-01T00:00:01Z"),
        ("0229120000", "2028-03-01", "2028-02-29T12:00:00Z"),
        ("0229120000", "2027-03-01", "2028-02-29T12:00:00Z"),
    ],
)
def test_the_year_is_the_closest(sent: str, near: str, moment: str) -> None:
    """ISO 8583 has no years, and neither New Year nor a leap day puts a payment into another one."""
    assert transaction(message(f7=sent), parse_time(near)).event_time == parse_time(moment)


def test_nothing_of_the_card_is_kept(read: Any) -> None:
    """Neither events nor rejected rows nor reasons nor printed forms have its number, track, PIN, expiry or CVV."""
    bad = [
        message(f49="000"), message(f43=f"SHOP {CARD}".ljust(40)), message(f7="1399999999"), message()[:-3],
        message(f4="0000000000AB"), b"0100" + CARD.encode() * 3, message(f18="ABCD"),
    ]  # fmt: skip
    events, rejects = read(framed(*MANY, *bad))
    kept = msgspec.json.encode(events).decode() + "\n".join(rejects) + repr(decode(message(), ASCII))
    assert len(rejects) == 7
    for secret in (CARD, CARD[:7], CARD[-8:], "2812", "1122334455667788", "CVV2"):
        assert secret not in kept
    for raw in bad:
        with pytest.raises(InputError) as refused:
            transaction(raw)
        assert CARD[-8:] not in str(refused.value)
        assert CARD not in repr(vars(refused.value.__cause__ or refused.value))


def test_a_field_that_repeats_the_card_is_refused() -> None:
    """A terminal that writes the number elsewhere does not bring it past the allowed fields."""
    assert "DE 43 repeats the number" in refusal(message(f43=f"SHOP {CARD}".ljust(40)))


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (message(f2=None, f35=None), "DE 2 is missing"),
        (message(f2="555534124444111A"), "DE 2 is no card number"),
        (message(f4=None), "DE 4 is missing"),
        (message(f7=None), "DE 7 is missing"),
        (message(f7="0230120000"), "DE 7 has a day"),
        (message(f7="0704250000"), "DE 7 has no month"),
        (message(f11=None), "DE 11 is missing"),
        (message(f49=None), "DE 49 is missing"),
        (message(f49="999"), "is not an ISO 4217 currency"),
        (message(f41=None, f42=None), "neither `merchant_id` nor `payee`"),
        (reversal(f90=None), "DE 90 is missing"),
        (reversal(f90="x" * 42), "DE 90 has not the form"),
        (reversal(f95="000000099999" + "0" * 30), "DE 95 is no part"),
        (message(t="0800"), "message type 0800"),
        (message(f3="310000"), "DE 3 begins with 31"),
        (b"", "is not ISO 8583: field t at byte 0"),
        (b"01x0" + b"0" * 16, "is not ISO 8583: field t at byte 0"),
    ],
)
def test_what_is_missing_or_wrong_is_named(raw: bytes, reason: str) -> None:
    """The reason names the field."""
    assert reason in refusal(raw)


@given(st.binary(max_size=300) | st.builds(lambda cut, rest: message()[:cut] + rest, st.integers(0, 200), st.binary()))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    """Rubbish is refused with a reason, never by another exception."""
    for form in ("ascii", "binary"):
        with suppress(InputError):
            assert transaction(raw, form=form).account_id.startswith("card-")


def test_answers_in_a_file_are_passed_over_and_a_cut_file_is_refused(read: Any) -> None:
    """A capture of both directions gives its requests; a compressed file is read likewise."""
    both = framed(message(), message(t="0110", f39="00"), b"", message(t="0800", f11="000001"), reversal())
    assert len(read(both)[0]) == 2
    assert read(both)[1] == []
    assert len(read(gzip.compress(both), "cards.iso8583.gz")[0]) == 2
    with pytest.raises(InputError, match="ends within message 5"):
        read(both[:-1])
    with pytest.raises(InputError, match="ends within message 6"):
        read(both + b"\0")


def test_a_form_has_exceptions(tmp_path: Path) -> None:
    """A header and EBCDIC text are read as the file says; a mistake in it is named."""
    path = tmp_path / "form.toml"
    path.write_text('base = "ascii"\n[fields.h]\nmax_len = 4\n[fields.43]\ndata_enc = "cp500"\n')
    name = "A SHOP".ljust(38) + "FR"
    raw = b"ISO0" + message(f43=None).replace(b"0100", b"0100", 1)
    form = load_form(str(path))
    assert decode(raw, form).fields["h"] == "ISO0"
    raw = b"ISO0" + message(f43=name).replace(name.encode(), name.encode("cp500"))
    assert transaction_of(record_of(decode(raw, form), CARDS, NOON)).country == "FR"
    for text, problem in (
        ('base = "other"', "base"), ('base = "ascii"\n[fields.129]\nmax_len = 1', "no field '129'"),
        ('base = "ascii"\n[fields.2]\ndata_enc = "x"', "encoding 'x' is unknown"), ("base", "form.toml"),
    ):  # fmt: skip
        path.write_text(text)
        with pytest.raises(InputError, match=problem):
            load_form(str(path))
    with pytest.raises(InputError, match="no form 'morse'"):
        load_form("morse")


def test_the_form_of_the_manual_reads_what_it_says(tmp_path: Path) -> None:
    """A header of bytes, a card number in BCD with its length in digits, and a name in EBCDIC."""
    page = (Path(__file__).parents[2] / "docs/iso8583.md").read_text()
    (tmp_path / "form.toml").write_text(page.rpartition("```toml")[2].partition("```")[0])
    form = load_form(str(tmp_path / "form.toml"))
    fields = {name: text for name, text in decode(message("binary"), load_form("binary")).fields.items() if name != "p"}
    raw = encode(CardMessage(fields | {"h": "6000010000"}), form)
    assert raw.startswith(b"\x60\x00\x01\x00\x000100")
    assert b"\x16" + bytes.fromhex(CARD) in raw
    assert "A SHOP, MADRID".encode("cp500") in raw
    assert transaction_of(record_of(decode(raw, form), CARDS, NOON)) == transaction(message())


def test_a_token_is_as_secret_as_its_key() -> None:
    """Another key gives other accounts, and a short or missing one is refused."""
    assert CARDS.account_of(CARD) == CardTokens(Secret(text=KEY)).account_of(CARD)
    assert CARDS.account_of(CARD) != CardTokens(Secret(text=KEY[::-1])).account_of(CARD)
    assert CARDS.account_of(CARD) != CARDS.account_of(CARD[:-4] + "0010")
    for key in (None, Secret(text="short")):
        with pytest.raises(SettingsError, match="instead of 32"):
            CardTokens(key)
