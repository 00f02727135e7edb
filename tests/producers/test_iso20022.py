import gzip
from pathlib import Path
from typing import Any

import pytest

from producers.files import read_batches
from producers.frame import rows_to_transactions
from producers.mapping import load_mapping
from vedette.clock import parse_time
from vedette.errors import InputError

SAMPLES = Path(__file__).parent / "samples"
DEBTOR, CREDITOR = "ES9121000418450200051332", "DE89370400440532013000"


def read(name: str, path: Path | None = None, batch_rows: int = 50_000) -> tuple[list[dict[str, Any]], list[str]]:
    """Return what a message gives: the fields of each transaction, and what is rejected."""
    rejects: list[str] = []
    batches = read_batches(
        path or SAMPLES / f"{name}.xml", load_mapping(name), batch_rows=batch_rows,
        on_reject=lambda one: rejects.append(str(one)),
    )  # fmt: skip
    events = [event for batch in batches for event in rows_to_transactions(batch)]
    fields = ("transaction_id", "account_id", "amount", "currency", "event_time", "payee", "kind", "original_id")
    given = [{field: getattr(event, field) for field in fields} for event in events]
    return [{field: value for field, value in one.items() if value is not None} for one in given], rejects


@pytest.mark.parametrize("batch_rows", [1, 50_000])
def test_pain001_gives_a_payment_for_each_transfer(batch_rows: int) -> None:
    """Each transfer has the debtor of its own block; an id of NOTPROVIDED counts as missing."""
    noon = parse_time("2024-07-01T12:00Z")
    found, rejects = read("pain001", batch_rows=batch_rows)
    assert found == [
        {"transaction_id": "I1", "account_id": DEBTOR, "amount": 123450, "currency": "EUR", "event_time": noon,
         "payee": CREDITOR},
        {"transaction_id": "8a562c67-ca16-48ba-b074-65581be6f001", "account_id": DEBTOR, "amount": 500,
         "currency": "JPY", "event_time": noon, "payee": "4711"},
    ]  # fmt: skip
    assert [reject.partition(", ")[2] for reject in rejects] == [
        "CdtTrfTxInf.PmtId.UETR, CdtTrfTxInf.PmtId.InstrId, CdtTrfTxInf.PmtId.EndToEndId '' is empty"
    ]


def test_a_return_reverses_the_payment_of_its_transfer() -> None:
    """pacs.004 has the id that pacs.008 gave the payment; a return without a known payment is rejected."""
    (payment,), no_rejects = read("pacs008")
    (reversal,), rejects = read("pacs004")
    assert payment["event_time"] == parse_time("2024-07-01T11:59:58.5Z")
    assert (reversal["kind"], reversal["original_id"]) == ("reversal", payment["transaction_id"])
    assert all(reversal[field] == payment[field] for field in ("account_id", "amount", "currency", "payee"))
    assert not no_rejects
    assert len(rejects) == 1


def test_camt054_gives_payments_and_deposits() -> None:
    """Details of an entry count, never its sum as well; entries without details count, reversing ones are left out."""
    found, rejects = read("camt054")
    assert [(one["transaction_id"], one["kind"], one["amount"], one.get("payee")) for one in found] == [
        ("T1", "payment", 1000, CREDITOR), ("E3", "payment", 725, "99"), ("A3", "deposit", 50000, None),
    ]  # fmt: skip
    assert [one["event_time"] for one in found] == [
        parse_time(text) for text in ("2024-07-01T09:00Z", "2024-07-01", "2024-07-01T10:00Z")
    ]
    assert {one["account_id"] for one in found} == {DEBTOR}
    assert len(rejects) == 1
    assert "is empty" in rejects[0]


def test_entities_and_definitions_of_types_are_refused(tmp_path: Path) -> None:
    """Neither a local file nor a billion laughs gets into a payment; a truncated message is reported."""
    whole = (SAMPLES / "pain001.xml").read_text(encoding="utf-8")
    head, _, rest = whole.partition("\n")
    (tmp_path / "secret").write_text("secret")
    evil = f'{head}\n<!DOCTYPE Document [<!ENTITY x SYSTEM "file://{tmp_path}/secret">]>\n' + rest.replace("I1", "&x;")
    for content, said in (
        (evil, "has a document type definition"),
        (whole[:-200], "is not valid XML"),
        ("", "is not valid XML"),
    ):
        (tmp_path / "x.xml").write_text(content, encoding="utf-8")
        with pytest.raises(InputError, match=said):
            read("pain001", tmp_path / "x.xml")


def test_a_message_may_be_packed_and_needs_a_mapping_for_it(tmp_path: Path) -> None:
    """Gzip as for other files; a mapping of columns says that it does not read XML."""
    (tmp_path / "x.xml.gz").write_bytes(gzip.compress((SAMPLES / "pacs008.xml").read_bytes()))
    assert read("pacs008", tmp_path / "x.xml.gz") == read("pacs008")
    with pytest.raises(InputError, match="is XML, which mapping handbook does not read"):
        read("handbook", SAMPLES / "pacs008.xml")
