"""Whoever asks, and whatever a client writes: limits are counted for an address that one of our own proxies saw."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from gateway.proxies import client_of

INSIDE = ip_network("10.0.0.0/8")
PROXIES = st.ip_addresses(network=INSIDE)
OUTSIDE = st.ip_addresses().filter(
    lambda address: getattr(address, "ipv4_mapped", None) is None and address not in INSIDE
)
ANYTHING = st.one_of(OUTSIDE.map(str), PROXIES.map(str), st.text("0123456789abcdef.:,[]% ", max_size=20))


@given(written=st.lists(ANYTHING, max_size=20), client=OUTSIDE, hops=st.lists(PROXIES, max_size=5))
def test_nothing_that_a_client_wrote_counts(
    written: list[str], client: IPv4Address | IPv6Address, hops: list[IPv4Address]
) -> None:
    """Whom the first of our proxies saw counts, whatever stood in the header when it came."""
    forwarded = ", ".join([*written, str(client), *map(str, hops)])
    assert client_of("10.1.2.3", forwarded, [INSIDE]) == str(client)


@given(written=st.lists(PROXIES, max_size=20), client=PROXIES)
def test_a_client_among_the_proxies_cannot_choose_another_of_them(
    written: list[IPv4Address], client: IPv4Address
) -> None:
    """Where every address is trusted, it is the one that the nearest proxy saw."""
    forwarded = ", ".join(map(str, [*written, client]))
    assert client_of("10.1.2.3", forwarded, [INSIDE]) == str(client)


@given(peer=OUTSIDE, written=st.lists(ANYTHING, max_size=20))
def test_others_are_not_believed(peer: IPv4Address | IPv6Address, written: list[str]) -> None:
    """From who is no trusted proxy the header means nothing."""
    assert client_of(str(peer), ", ".join(written), [INSIDE]) == str(peer)
