"""Which servers outside may be spoken to: by the letter of the URL, and by the address it leads to."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from shared.outside import InvalidDestination, Server, parse_destination, parse_outside, server_of
from shared.settings import Uploads

LISTED = parse_outside(
    [
        "https://upload.example.org/legacy/",
        "https://mirror.example.org",
        "http://127.0.0.1:3141/root/prod",
        "http://localhost:8080/",
        "http://[::1]:3141/",
        "10.1.0.0/16",
        "fd00::/8",
    ]
)


@pytest.mark.parametrize(
    "url",
    [
        "https://upload.example.org/legacy/",
        "https://UPLOAD.example.org:443/legacy/",
        "https://upload.example.org/legacy/more",
        "https://mirror.example.org/any/path/",
        "http://127.0.0.1:3141/root/prod",
        "http://127.0.0.1:3141/root/prod/",
        "http://[::1]:3141/root/prod/",
    ],
)
def test_what_is_listed_and_what_lies_below_it(url: str) -> None:
    """Scheme, host and port are the same, and the path begins with whole segments."""
    assert LISTED.place_of(parse_destination(url)) is not None


@pytest.mark.parametrize(
    "url",
    [
        "http://upload.example.org/legacy/",
        "https://upload.example.org:8443/legacy/",
        "https://upload.example.org/",
        "https://upload.example.org/legacy",
        "https://upload.example.org/legacyx/",
        "https://upload.example.org.evil.test/legacy/",
        "https://evil.test/upload.example.org/legacy/",
        "http://127.0.0.1:3141/root/production",
        "http://127.0.0.2:3141/root/prod",
        "http://10.1.0.1/",
    ],
)
def test_what_is_not_listed(url: str) -> None:
    """Nearly the same is another place; a network names no place."""
    assert LISTED.place_of(parse_destination(url)) is None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "upload.example.org/legacy/",
        "ftp://upload.example.org/",
        "file:///etc/passwd",
        "https://",
        "https://user@upload.example.org/legacy/",
        "https://user:secret@upload.example.org/legacy/",
        "https://upload.example.org@evil.test/legacy/",
        "https://upload.example.org/legacy/?a=b",
        "https://upload.example.org/legacy/#a",
        "https://upload.example.org/legacy/../admin/",
        "https://upload.example.org/legacy/./",
        "https://upload.example.org/legacy//admin",
        "https://upload.example.org/legacy/%2e%2e/admin",
        "https://upload.example.org\\@evil.test/legacy/",
        "https://upload.example.org/legacy/\r\nHost: evil.test",
        "https://upload.example.org:99999/legacy/",
        "https://upload.example.org:port/legacy/",
        "https://úpload.example.org/legacy/",
        "https://[::1/legacy/",
        "https://upload.example.org/" + "a" * 2000,
    ],
)
def test_urls_that_two_programs_could_read_differently(url: str) -> None:
    """Only plain ones are taken."""
    with pytest.raises(InvalidDestination):
        parse_destination(url)


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("10.1.2.3", True),
        ("fd00::17", True),
        ("10.2.0.1", False),
        ("192.168.0.1", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("::", False),
        ("fe80::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.1.2.3", True),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("::127.0.0.1", False),
        ("::169.254.169.254", False),
        ("::8.8.8.8", False),
        ("64:ff9b:1::7f00:1", False),
        ("64:ff9b:1::808:808", False),
        ("2001:0:808:808::80ff:fffe", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("2002:a00:1::", False),
        ("nonsense", False),
    ],
)
def test_a_listed_name_leads_to_public_addresses_and_listed_networks(address: str, allowed: bool) -> None:
    """Whoever answers for the name cannot point it at this machine, also not in other clothes."""
    assert LISTED.allows(parse_destination("https://upload.example.org/legacy/"), address) is allowed


@pytest.mark.parametrize(("url", "address"), [("http://localhost:8080/", "::1"), ("http://10.9.0.1/", "10.9.0.1")])
def test_an_address_in_the_url_is_what_the_operator_wrote(url: str, address: str) -> None:
    """Nobody can point it elsewhere."""
    assert LISTED.allows(parse_destination(url), address)


def test_the_setting_says_what_is_wrong_with_it() -> None:
    """A list that cannot be read stops the start; an empty one lists nothing."""
    assert Uploads().outside == parse_outside([])
    assert len(Uploads(push_to=" https://a.example/ , 10.0.0.0/8 ,").outside.places) == 1
    for value in ("a.example", "10.0.0.1/8", "https://a.example/?x", "https://u:p@a.example/"):
        with pytest.raises(ValidationError, match="push_to"):
            Uploads(push_to=value)


def test_hosts_and_ports_as_headers_have_them() -> None:
    """A default port is left out, an IPv6 address has brackets."""
    written = ["https://a.example/", "https://a.example:444/x", "http://[::1]:80/"]
    assert [parse_destination(url).authority for url in written] == ["a.example", "a.example:444", "[::1]"]


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("https://A.example/x", Server("https", "a.example", 443)),
        ("https://a.example:443/y?z", Server("https", "a.example", 443)),
        ("http://u:p@a.example:8080", Server("http", "a.example", 8080)),
        ("HTTP://[::1]/", Server("http", "::1", 80)),
        ("http://a.example:0/", Server("http", "a.example", 0)),
        ("http://a.example:65536/", None),
        ("http://a.example:x/", None),
        ("http://[::1/", None),
        ("ftp://a.example/", None),
        ("http://:80/", None),
        ("a.example", None),
    ],
)
def test_the_server_of_a_url(url: str, server: Server | None) -> None:
    """Is the same however it is written, and however often it is asked for."""
    assert [server_of(url), server_of(url)] == [server, server]
