import codecs
import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from producers.files import read_batches, read_files
from producers.frame import rows_to_transactions
from producers.mapping import load_mapping
from vedette.clock import parse_time
from vedette.events import Transaction

FIELDS = """
[fields]
transaction_id = { column = "ref" }
account_id = { column = "cuenta" }
amount = { column = "importe" }
currency = { constant = "EUR" }
event_time = { columns = ["fecha", "hora"], formats = ["%d/%m/%Y %H:%M:%S", "%Y.%m.%d %H:%M:%S"] }
payee = { column = "destino" }
"""
SPANISH = '[file]\ndelimiter = ";"\ndecimal = ","\nthousands = "."\nzone = "Europe/Madrid"\n'
HEAD = "ref;cuenta;importe;fecha;hora;destino"


def read(
    tmp_path: Path, file: str, content: dict[str, bytes], fields: str = FIELDS, batch_rows: int = 50_000
) -> tuple[list[Transaction], list[str]]:
    """Return what files of one folder give through a mapping, as one stream, and what is rejected."""
    mapping = tmp_path / "bank.toml"
    mapping.write_text(f'name = "bank"\ndescription = "bank"\n{file}\n{fields}', encoding="utf-8")
    paths = [tmp_path / name for name in content]
    for path in paths:
        path.write_bytes(content[path.name])
    rejects: list[str] = []
    batches = read_files(
        paths, load_mapping(str(mapping)), batch_rows=batch_rows, on_reject=lambda one: rejects.append(str(one))
    )
    return [event for batch in batches for event in rows_to_transactions(batch)], rejects


def lines_of(instants: list[datetime]) -> bytes:
    """Return a Spanish bank's file with a payment at each instant, in the local time of Madrid."""
    local = [moment.astimezone(ZoneInfo("Europe/Madrid")) for moment in instants]
    rows = [
        f"{row};ES1;{row % 9}.234,{row % 100:02};{moment:%d/%m/%Y;%H:%M:%S};ES2" for row, moment in enumerate(local)
    ]
    return "\r\n".join([HEAD, *rows, ""]).encode()


def test_madrid_keeps_its_instants_across_both_changes_of_the_clock(tmp_path: Path) -> None:
    """Semicolons, decimal commas, and date and time in two columns: each row has the instant that it was written for.

    The hour that comes twice is read in the order of the file, also where batches end within it.
    """
    instants = [
        start + timedelta(minutes=5 * step)
        for start in (datetime(2024, 3, 30, 22, tzinfo=UTC), datetime(2024, 10, 26, 22, tzinfo=UTC))
        for step in range(72)
    ]
    for batch_rows in (1, 7, 50_000):
        found, rejects = read(
            tmp_path, SPANISH + 'ambiguous = "order"', {"x.csv": lines_of(instants)}, batch_rows=batch_rows
        )
        assert [event.event_time for event in found] == [round(moment.timestamp() * 1000) for moment in instants]
        assert [event.amount for event in found] == [
            (row % 9 * 1000 + 234) * 100 + row % 100 for row in range(len(instants))
        ]
        assert not rejects


@pytest.mark.parametrize(
    ("ambiguous", "instant"), [("earlier", "2024-10-27T00:30"), ("later", "2024-10-27T01:30"), ("reject", "")]
)
def test_a_local_time_that_comes_twice_is_never_guessed(tmp_path: Path, ambiguous: str, instant: str) -> None:
    """Unless the mapping says which of the two it is, the row is rejected with a remedy."""
    row = f"{HEAD}\n1;a;1,00;27/10/2024;02:30:00;p\n".encode()
    found, rejects = read(tmp_path, SPANISH + f'ambiguous = "{ambiguous}"', {"x.csv": row})
    if instant:
        assert [event.event_time for event in found] == [parse_time(instant)]
    else:
        (reject,) = rejects
        assert reject.startswith("line 2, fecha, hora '27/10/2024 02:30:00' comes twice in Europe/Madrid")
        assert reject.endswith("set `ambiguous` in the mapping")


def test_a_local_time_that_no_clock_showed_is_rejected(tmp_path: Path) -> None:
    """02:30 on the night when clocks go forward is an error in the file; rows around it are read."""
    rows = f"{HEAD}\n1;a;1,00;31/03/2024;01:59:59;p\n2;a;1,00;31/03/2024;02:30:00;p\n3;a;1,00;2024.03.31;03:00:00;p\n"
    found, rejects = read(tmp_path, SPANISH, {"x.csv": rows.encode()})
    assert [event.event_time for event in found] == [
        parse_time("2024-03-31T00:59:59Z"), parse_time("2024-03-31T01:00:00Z"),
    ]  # fmt: skip
    assert rejects == [
        "line 3, fecha, hora '31/03/2024 02:30:00' does not exist in Europe/Madrid, whose clocks went forward"
    ]


def test_several_forms_of_a_date_are_read_and_others_rejected(tmp_path: Path) -> None:
    """The first matching form counts; impossible dates, other forms and trailing characters are rejected."""
    times = [
        "31/12/2024;23:59:59",
        "2024.12.31;23:59:59",
        "31/02/2024;00:00:00",
        "12-31-2024;1:2:3",
        "1/1/2024;1:2:3 x",
    ]
    rows = "\n".join([HEAD, *(f"{row};a;1,00;{time};p" for row, time in enumerate(times))]).encode()
    found, rejects = read(tmp_path, SPANISH, {"x.csv": rows})
    assert [event.event_time for event in found] == [parse_time("2024-12-31T22:59:59Z")] * 2
    assert ["is not written like" in reject for reject in rejects] == [True] * 3


def test_offsets_are_kept_and_only_local_times_get_the_zone(tmp_path: Path) -> None:
    """In one column of ISO 8601 and in forms with %z the offset counts; Parquet's local timestamps get the zone."""
    fields = FIELDS.replace('columns = ["fecha", "hora"], formats', 'column = "fecha", formats')
    mixed = "\n".join(
        [
            HEAD,
            *(f"1;a;1;{time};;p" for time in ("2024-07-01T10:00:00Z", "2024-07-01 12:00:00", "2024-07-01T11:00+01:00")),
        ]
    )
    iso = fields.replace(', formats = ["%d/%m/%Y %H:%M:%S", "%Y.%m.%d %H:%M:%S"]', "")
    found, rejects = read(tmp_path, SPANISH, {"x.csv": mixed.encode()}, iso)
    assert ([event.event_time for event in found], rejects) == ([parse_time("2024-07-01T10:00Z")] * 3, [])
    forms = fields.replace('"%Y.%m.%d %H:%M:%S"', '"%Y%m%d%H%M%S%z"')
    found, rejects = read(
        tmp_path,
        SPANISH,
        {"x.csv": f"{HEAD}\n1;a;1;20240701130000+0300;;p\n2;a;1;01/07/2024 12:00:00;;p".encode()},
        forms,
    )
    assert ([event.event_time for event in found], rejects) == ([parse_time("2024-07-01T10:00Z")] * 2, [])
    columns = {"ref": ["1"], "cuenta": ["a"], "importe": [1.5], "destino": ["p"]}
    noon = pa.array([parse_time("2024-07-01T12:00Z")], pa.timestamp("ms"))
    pq.write_table(pa.table({**columns, "fecha": noon}), tmp_path / "x.parquet")
    (tmp_path / "bank.toml").write_text(f'name = "b"\ndescription = "b"\n{SPANISH}{iso}', encoding="utf-8")
    (batch,) = read_batches(tmp_path / "x.parquet", load_mapping(str(tmp_path / "bank.toml")), on_reject=pytest.fail)
    assert batch.column("event_time").to_pylist() == [parse_time("2024-07-01T10:00Z")]


def test_signs_of_currencies_name_them_and_are_no_part_of_the_amount(tmp_path: Path) -> None:
    """The longest sign that a value contains counts; a value without a sign is rejected."""
    fields = FIELDS.replace(
        '{ constant = "EUR" }', '{ column = "importe", signs = { "€" = "EUR", "$" = "USD", "C$" = "CAD" } }'
    )
    values = ["€ 1.234,50", "1.234,50\u00a0€", "$5", "C$7,25", "9,00"]
    rows = "\n".join([HEAD, *(f"{row};a;{value};01/07/2024;12:00:00;p" for row, value in enumerate(values))])
    found, rejects = read(tmp_path, SPANISH, {"x.csv": rows.encode()}, fields)
    assert [(event.amount, event.currency) for event in found] == [
        (123450, "EUR"), (123450, "EUR"), (500, "USD"), (725, "CAD"),
    ]  # fmt: skip
    assert rejects == ["line 6, importe '9,00' has none of the signs €, $, C$"]


@pytest.mark.parametrize("encoding", ["windows-1252", "iso-8859-15", "utf-16", "utf-16-le", "utf-8-sig", "utf-8"])
def test_text_is_read_in_the_encoding_of_the_mapping(tmp_path: Path, encoding: str) -> None:
    """Names keep their letters and amounts their euro sign."""
    row = f"{HEAD}\n1;a;1 234,50 €;01/07/2024;12:00:00;Núñez\n"
    fields = FIELDS.replace('{ column = "importe" }', '{ column = "importe", remove = "€", thousands = " " }')
    file = SPANISH + f'encoding = "{encoding}"'
    found, rejects = read(tmp_path, file, {"x.csv": row.encode(encoding)}, fields)
    assert ([(event.payee, event.amount) for event in found], rejects) == ([("Núñez", 123450)], [])


@pytest.mark.parametrize("mark", [codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF8])
def test_a_byte_order_mark_overrides_the_encoding(tmp_path: Path, mark: bytes) -> None:
    """A file with a mark needs no setting, and a wrong setting does no harm."""
    encoding = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be", codecs.BOM_UTF32_LE: "utf-32-le"}
    row = f"{HEAD}\n1;a;1,00;01/07/2024;12:00:00;Núñez\n".encode(encoding.get(mark, "utf-8"))
    for file in (SPANISH, SPANISH + 'encoding = "windows-1252"'):
        found, rejects = read(tmp_path, file, {"x.csv": mark + row})
        assert ([event.payee for event in found], rejects) == (["Núñez"], [])


def test_bytes_outside_the_encoding_cost_their_own_line_only(tmp_path: Path) -> None:
    """0x81 is not a letter of windows-1252."""
    rows = (
        f"{HEAD}\n1;a;1,00;01/07/2024;12:00:00;p\n2;a;1,00;01/07/2024;12:00:00;\x81\n3;a;1,00;01/07/2024;12:00:00;ñ\n"
    )
    found, rejects = read(tmp_path, SPANISH + 'encoding = "windows-1252"', {"x.csv": rows.encode("latin-1")})
    assert [event.payee for event in found] == ["p", "ñ"]
    assert [reject.split(",")[0] for reject in rejects] == ["line 3"]


def test_other_quotes_no_header_and_lines_before_it(tmp_path: Path) -> None:
    """Quotes may be other characters or plain letters, names may come from the mapping, and a preamble is skipped."""
    row = "1;a;1,00;01/07/2024;12:00:00;"
    found, rejects = read(tmp_path, SPANISH + 'quote = "\'"', {"x.csv": f"{HEAD}\n{row}'O;\"Neill'\n".encode()})
    assert ([event.payee for event in found], rejects) == (['O;"Neill'], [])
    found, rejects = read(tmp_path, SPANISH + 'quote = ""', {"x.csv": f'{HEAD}\n{row}"x\n{row}y"\n'.encode()})
    assert ([event.payee for event in found], rejects) == (['"x', 'y"'], [])
    names = SPANISH + f"names = {json.dumps(HEAD.split(';'))}"
    numbered = FIELDS.replace('{ column = "ref" }', '{ row_number = true, prefix = "r" }')
    found, rejects = read(tmp_path, names, {"x.csv": b"\xef\xbb\xbf" + f"{row}p\nfew\n{row}q\n".encode()}, numbered)
    assert [(event.transaction_id, event.payee) for event in found] == [("r1", "p"), ("r3", "q")]
    assert rejects == ["line 2, row '' has 1 values for 6 columns"]
    preamble = f"Export of 1 July\n\n{HEAD}\n{row}p\nfew\n"
    found, rejects = read(tmp_path, SPANISH + "skip_lines = 2", {"x.csv": preamble.encode()})
    assert ([event.payee for event in found], [reject.split(",")[0] for reject in rejects]) == (["p"], ["line 5"])
    found, rejects = read(tmp_path, SPANISH.replace('";"', '","'), {"x.csv": f"sep=;\r\n{HEAD}\r\n{row}p\r\n".encode()})
    assert ([event.payee for event in found], rejects) == (["p"], [])


def test_several_files_are_one_stream(tmp_path: Path) -> None:
    """Plain, gzip and zstd: row numbers continue from file to file, and each rejected row names its file."""
    numbered = FIELDS.replace('{ column = "ref" }', '{ row_number = true, prefix = "r" }')
    one = f"{HEAD}\n1;a;1,00;27/10/2024;02:50:00;p\nfew\n".encode()
    two = f"{HEAD}\n1;a;1,00;27/10/2024;02:10:00;p\n".encode()
    packed = pa.compress(two, "zstd", asbytes=True)
    content = {"1.csv": one, "2.csv.gz": gzip.compress(two), "3.CSV.ZST": packed}
    found, rejects = read(tmp_path, SPANISH + 'ambiguous = "order"', content, numbered)
    assert [(event.transaction_id, event.event_time) for event in found] == [
        ("r1", parse_time("2024-10-27T00:50Z")), ("r2", parse_time("2024-10-27T01:10Z")),
        ("r3", parse_time("2024-10-27T01:10Z")),
    ]  # fmt: skip
    assert rejects == [f"{tmp_path / '1.csv'}, line 3, row '' has 1 values for 6 columns"]


def test_json_lines_are_read_by_paths(tmp_path: Path) -> None:
    """Nested fields, elements of lists, numbers with all their digits, and names with dots; bad lines are named."""
    fields = """
where = { "event.type" = ["AUTH", "CLEARING"] }
[fields]
transaction_id = { column = "event.id" }
account_id = { column = "card.account.number" }
amount = { column = "lines[1].amount" }
currency = { column = "flat.currency" }
event_time = { column = "at", form = "seconds" }
merchant_id = { first_of = ["shop.id", "shop.name"] }
"""
    good = {
        "event": {"id": 12345678901234567, "type": "AUTH"}, "card": {"account": {"number": "a"}},
        "lines": [{}, {"amount": 0.285}], "flat.currency": "EUR", "at": 1719835200, "shop": {"id": "", "name": "Bo"},
    }  # fmt: skip
    lines = [
        json.dumps(good), "{", "[1]", json.dumps(good | {"lines": [{}, {"amount": {}}]}),
        json.dumps(good | {"event": {"type": "PING"}}), json.dumps(good | {"lines": []}), "", "\x00",
        json.dumps(good | {"event": {"id": "b", "type": "CLEARING"}}),
    ]  # fmt: skip
    found, rejects = read(tmp_path, "", {"x.jsonl": "\n".join(lines).encode()}, fields)
    assert [(e.transaction_id, e.account_id, e.amount, e.merchant_id, e.event_time) for e in found] == [
        ("12345678901234567", "a", 28, "Bo", 1719835200000), ("b", "a", 28, "Bo", 1719835200000),
    ]  # fmt: skip
    assert [reject.partition(": ")[0] for reject in rejects] == [
        "line 2, row '' is not JSON", "line 3, row '' is not a JSON object but list",
        "line 4, lines[1].amount '' is a record, not a value", "line 6, lines[1].amount '' is empty",
        "line 8, row '' is not JSON",
    ]  # fmt: skip
