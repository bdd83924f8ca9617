"""URIs of private keys: what is understood, what is refused, and that nothing secret is repeated."""

from __future__ import annotations

import pytest

from countermark.core.signing.faults import KeyUnusable
from countermark.core.signing.uris import TokenPlace, VaultPlace, parse_token, parse_uri, parse_vault


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("hsm:", TokenPlace(None, None)),
        ("hsm:2", TokenPlace(2, None)),
        ("hsm:?label=the%20token", TokenPlace(None, "the token")),
        ("hsm:7?label=a%2Fb", TokenPlace(7, "a/b")),
    ],
)
def test_a_key_on_a_token(text: str, place: TokenPlace) -> None:
    """Number and label may each be left out, and what is written is read again."""
    assert parse_token(parse_uri(text)) == place
    assert parse_token(parse_uri(str(place))) == place


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hsm:2?label=a&pin=1234", "knows no pin"),
        ("hsm:2?pin-value=1234", "knows no pin-value"),
        ("hsm:2?label=a&label=b", "twice"),
        ("hsm:2?label=", "1 to 32 bytes"),
        ("hsm:2?label=" + "x" * 33, "1 to 32 bytes"),
        ("hsm:two", "whole number"),
        ("hsm:-1", "whole number"),
        ("hsm:٣", "whole number"),
        (f"hsm:{1 << 64}", "whole number"),
        ("hsm://host/2", "too much"),
        ("hv:", "names a key"),
        ("hv:a/b", "names a key"),
        ("hv:a/0", "names a key"),
        ("hv:a/1/2", "names a key"),
        ("hv:../sys/1", "names a key"),
        ("pkcs8:", "names nothing"),
        ("awskms:", "names nothing"),
        ("file2:a\nb", "nobody sees"),
        ("file2:" + "a" * 2000, "characters"),
        ("file:/key.pem", "no scheme"),
        ("/key.pem", "no scheme"),
        ("", "no scheme"),
    ],
)
def test_what_no_scheme_understands(text: str, words: str) -> None:
    """It is refused with words, and never a PIN among them."""
    with pytest.raises(KeyUnusable, match=words) as caught:
        parse_uri(text)
    assert "1234" not in str(caught.value)


def test_a_key_written_where_its_variable_should_stand() -> None:
    """An `env:` URI with a private key in place of a name is refused without repeating it."""
    with pytest.raises(KeyUnusable, match="names a variable") as caught:
        parse_uri("env:-----BEGIN PRIVATE KEY-----MC4CAQAwBQYDK2VwBCIEIA")
    assert "MC4C" not in str(caught.value)


@pytest.mark.parametrize(("text", "place"), [("hv:a.b-c/12", VaultPlace("a.b-c", 12)), ("hv:a", VaultPlace("a", None))])
def test_a_key_in_vault(text: str, place: VaultPlace) -> None:
    """A name, and a version that only those who look for a key may leave out."""
    assert parse_vault(parse_uri(text)) == place
    assert str(place) == text
