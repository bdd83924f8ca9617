"""The ingress takes straight to a service what the gateway would hand to that service, and nothing else."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.stack.routing import ROUTES
from gateway.routes import ToService, route


def service_for(method: str, target: str) -> str:
    """Return what nginx chooses."""
    line = f"{method} {target}"
    return next((service for pattern, service in ROUTES if re.search(pattern, line)), "gateway")


def through_gateway(target: str) -> str | None:
    """Return the service that the gateway chooses, None when it answers itself."""
    raw = target.partition("?")[0]
    destination = route(unquote(raw), raw.encode())
    return destination.service if isinstance(destination, ToService) else None


@pytest.mark.parametrize(
    ("target", "service"),
    [
        ("/root/stable/+simple/", "index"),
        ("/root/stable/+simple", "index"),
        ("/root/stable/+simple/hello/", "index"),
        ("/root/stable/%2Bsimple/hello/?format=application/json", "index"),
        ("/+simple/", "index"),
        ("/simple/hello/", "index"),
        ("/simple", "index"),
        ("/legacy/+simple/hello/", "index"),
        ("/pypi/hello/json", "index"),
        ("/root/stable/pypi/hello/1.0/json", "index"),
        ("/root/stable/+tuf/metadata/timestamp.json", "index"),
        ("/root/stable/+tuf/timestamp.json", "index"),
        ("/root/stable/%2btuf/files/ab/cd/hello-1.0.tar.gz", "download"),
        ("/root/stable/+tuf/attestations/hello/hello-1.0.tar.gz.provenance.json", "download"),
        ("/root/stable/+f/abc/0123456789abc/hello-1.0+x-py3-none-any.whl", "download"),
        ("/root/stable/%2Bf/abc/0123456789abc/hello-1.0%2Bx-py3-none-any.whl.metadata", "download"),
        ("/+f/abc/0123456789abc/hello-1.0.tar.gz", "download"),
        ("/v1/vulns/GHSA-aaaa-bbbb-cccc", "index"),
        ("/api/v1/indexes/root/stable/publications", "index"),
        ("/api/v1/indexes/root/stable/head", "index"),
        ("/api/v1/indexes/root/stable/explain/hello?version=1.0", "index"),
        ("/api/v1/indexes/root/stable/holds", "index"),
        ("/api/v1/indexes/root/stable/mirrors", "index"),
        ("/api/v1/indexes/root/stable/downloads/hello?days=3", "download"),
    ],
)
def test_hot_reads_go_straight(target: str, service: str) -> None:
    """Reads of pages, metadata and files reach their service without the gateway, written with + or %2B."""
    assert service_for("GET", target) == service_for("HEAD", target) == service == through_gateway(target)


@pytest.mark.parametrize("target", ["/v1/query", "/v1/querybatch"])
def test_queries_go_straight(target: str) -> None:
    """What asks for advisories changes nothing, though it is posted."""
    assert service_for("POST", target) == "index" == through_gateway(target)


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/v1/vulns/GHSA-aaaa-bbbb-cccc"),
        ("POST", "/root/stable/"),
        ("POST", "/legacy/"),
        ("GET", "/root/stable/"),
        ("PUT", "/root/stable/+simple/hello/"),
        ("POST", "/root/stable/+simple/"),
        ("DELETE", "/root/stable/+f/abc/0123456789abc/hello-1.0.tar.gz"),
        ("GET", "/"),
        ("GET", "/readyz"),
        ("GET", "/metrics"),
        ("GET", "/api/v1/account"),
        ("GET", "/api/v1/indexes/root/stable/projects/hello"),
        ("GET", "/api/v1/indexes/root/stable/headless"),
        ("GET", "/root/stable/+simple/../+simple/hello/"),
        ("GET", "/root/stable/+simple/./hello/"),
        ("GET", "/root/stable/+simple/.."),
        ("GET", "/root/stable/+simple//hello/"),
        ("GET", "//root/stable/+simple/"),
        ("GET", "/root/stable/+simple/%2e%2e/hello/"),
        ("GET", "/root/stable/+simple/hello%2fworld/"),
        ("GET", "/root/stable/+simple\\hello/"),
        ("GET", "/%72oot/stable/+simple/hello/"),
        ("GET", "/root/stable/%2B%66/abc/0123456789abc/hello-1.0.tar.gz"),
        ("GET", "/../stable/+simple/hello/"),
        ("GET", "http://other.example.org/root/stable/+simple/"),
    ],
)
def test_all_else_goes_to_the_gateway(method: str, target: str) -> None:
    """Writes, the gateway's own routes, and whatever is not plainly written."""
    assert service_for(method, target) == "gateway"


_PIECES = [
    "/", "//", ".", "..", "+", "%2B", "%2b", "%2f", "%2e", "simple", "tuf", "f", "files", "pypi", "legacy", "api", "v1",
    "indexes", "root", "stable", "head", "publications", "holds", "explain", "mirrors", "downloads", "a-b",
    "x.whl", "?", "?a=//", "\\", "é",
]  # fmt: skip


@given(st.lists(st.sampled_from(_PIECES), max_size=14).map(lambda pieces: "/" + "".join(pieces)))
def test_the_ingress_never_disagrees_with_the_gateway(target: str) -> None:
    """Whatever is taken past the gateway, the gateway would hand to the same service, or answer that it is nothing."""
    chosen = service_for("GET", target)
    if chosen != "gateway":
        assert through_gateway(target) in (chosen, None)
