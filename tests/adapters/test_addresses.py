import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.channels.addresses import is_email_address, is_phone_number


@pytest.mark.parametrize(
    "text",
    [
        "a,b@bank.example", "a;b@bank.example", "a@bank.example,b@bank.example", "a@bank.example;b@bank.example",
        "<a@bank.example>", "Ana <a@bank.example>", '"a b"@bank.example', "a b@bank.example", "a@bank.example\n",
        "a@bank.example\r\nBcc: x@y.example", "a@b@bank.example", "a@", "@bank.example", "a..b@bank.example",
        "a@-bank.example", "a@bank..example", "a@bänk.example", "á@bank.example",
        "a:b@bank.example", "a(c)@bank.example",
        "a@bank.example\0", "x" * 250 + "@b.example", "",
    ],
)  # fmt: skip
def test_what_a_mail_program_could_cut_or_list_is_not_an_address(text: str) -> None:
    """Separators, brackets, quotes, spaces and line ends are refused, not cut in half."""
    assert not is_email_address(text)


@pytest.mark.parametrize("text", ["a@b", "fraud.desk+night@bank.example", "o'neill@bank.example", "x@a-b.example"])
def test_one_plain_address_is_one(text: str) -> None:
    """The addresses that institutions use are accepted."""
    assert is_email_address(text)


@given(st.text(alphabet="+0123456789 -();,\n", max_size=18))
def test_a_phone_number_is_a_plus_and_digits(text: str) -> None:
    """Seven to fifteen digits after a plus, the first of which is not 0."""
    digits = text[1:]
    assert is_phone_number(text) == (
        text.startswith("+") and digits.isdigit() and 7 <= len(digits) <= 15 and digits[0] != "0"
    )
