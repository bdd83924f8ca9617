"""The one absolute address that signed pages print."""

import pytest

from countermark.core.names import IndexName
from shared.outside_address import index_url
from shared.settings import Listen, Settings

INDEX = IndexName("root", "stable")


@pytest.mark.parametrize(
    ("outside", "host", "found"),
    [
        ("https://registry.example", "0.0.0.0", "https://registry.example/root/stable/"),
        ("https://registry.example/base/", "127.0.0.1", "https://registry.example/base/root/stable/"),
        ("http://localhost:3141", "0.0.0.0", "http://localhost:3141/root/stable/"),
        ("http://registry.example", "127.0.0.1", None),
        ("ftp://127.0.0.1", "127.0.0.1", None),
        ("https://", "127.0.0.1", None),
        (None, "127.0.0.1", "http://127.0.0.1:3141/root/stable/"),
        (None, "::1", "http://[::1]:3141/root/stable/"),
        (None, "0.0.0.0", None),
    ],
)
def test_only_secure_addresses_are_printed(outside: str | None, host: str, found: str | None) -> None:
    """https, or this machine: of the setting, else of where the process listens."""
    settings = Settings.model_construct(outside_url=outside, listen=Listen(host=host))
    assert index_url(settings, INDEX) == found
