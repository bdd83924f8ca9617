"""The two addresses, and when the provider inside may sign people in."""

from __future__ import annotations

import pytest

from gateway.limits import address_of
from gateway.settings import addresses_of, external_issuer, uses_local_provider
from shared.settings import Listen, Oidc, Settings


def test_addresses_are_where_we_listen() -> None:
    """Without configuration people and clients use what is listened on."""
    addresses = addresses_of(Settings(listen=Listen(host="::1", api_port=1, ui_port=2)))
    assert (addresses.api, addresses.ui, addresses.https) == ("http://[::1]:1", "http://[::1]:2", False)


def test_configured_addresses_win() -> None:
    """Behind an ingress the outside addresses count; the API may have a path, the UI may not."""
    addresses = addresses_of(
        Settings(outside_url="https://packages.example.org/x/", outside_ui_url="https://ui.example.org/")
    )
    assert (addresses.api, addresses.ui) == ("https://packages.example.org/x", "https://ui.example.org")
    assert addresses.redirect_uri == "https://ui.example.org/login/callback"


@pytest.mark.parametrize(
    "url",
    ["ui.example.org", "ftp://ui.example.org", "https://user@ui.example.org", "https://ui.example.org/x", "https://"],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    """A wrong address stops the start with the setting's name."""
    with pytest.raises(ValueError, match="outside_ui_url"):
        addresses_of(Settings(outside_ui_url=url))


@pytest.mark.parametrize(
    ("settings", "local"),
    [
        (Settings(), True),
        (Settings(listen=Listen(host="::1")), True),
        (Settings(listen=Listen(host="localhost")), True),
        (Settings(listen=Listen(host="0.0.0.0")), False),
        (Settings(listen=Listen(host="192.0.2.7")), False),
        (Settings(outside_ui_url="https://ui.example.org"), False),
        (Settings(oidc=Oidc(issuer="https://login.example.org")), False),
    ],
)
def test_the_provider_inside_is_for_this_machine_only(settings: Settings, local: bool) -> None:
    """It signs nobody in when another machine could come in, or when another provider is configured."""
    assert uses_local_provider(settings) is local


@pytest.mark.parametrize("issuer", ["http://login.example.org", "login.example.org", "ftp://127.0.0.1", "https://"])
def test_a_provider_is_reached_over_tls(issuer: str) -> None:
    """Over plain HTTP whoever is in between could sign in as anybody; only this machine is excepted."""
    with pytest.raises(ValueError, match=r"oidc\.issuer"):
        external_issuer(Settings(oidc=Oidc(issuer=issuer)))
    assert external_issuer(Settings(oidc=Oidc(issuer="http://127.0.0.1:8080/realm"))) == "http://127.0.0.1:8080/realm"


@pytest.mark.parametrize(
    ("client", "counted"),
    [
        (("192.0.2.7", 1), "192.0.2.7"),
        (("2001:db8:1:2:aaaa::1", 1), "2001:db8:1:2::"),
        (("2001:db8:1:2:bbbb::9", 2), "2001:db8:1:2::"),
        (("::ffff:192.0.2.7", 1), "192.0.2.7"),
        (("", 0), ""),
        (None, "unknown"),
    ],
)
def test_tries_are_counted_per_customer(client: tuple[str, int] | None, counted: str) -> None:
    """An IPv6 network counts as one, since whoever has one address of it has all."""
    assert address_of(client) == counted
