"""Every path of the API host leads to one place."""

from __future__ import annotations

from urllib.parse import unquote

import pytest

from gateway.routes import (
    MAX_PATH,
    Destination,
    Devpi,
    Nowhere,
    Own,
    ToService,
    is_form_like,
    misnamed,
    plainly_written,
    route,
)
from shared.errors import ErrorKind


def _route(raw: str) -> Destination:
    """Route a path as the server decodes it."""
    return route(unquote(raw), raw.encode())


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/legacy", "upload"),
        ("/legacy/", "upload"),
        ("/root/stable/+simple/", "index"),
        ("/root/stable/+simple/demo/", "index"),
        ("/root/stable/%2Bsimple/demo/", "index"),
        ("/root/stable/+at/2024-01-01T00%3A00%3A00Z/+simple/demo/", "index"),
        ("/root/stable/+at/2024-01-01/+f/abc/def/demo-1.0.tar.gz", "download"),
        ("/+simple/", "index"),
        ("/simple/", "index"),
        ("/simple/demo/", "index"),
        ("/legacy/+simple/demo/", "index"),
        ("/root/stable/+f/abc/def/demo-1.0.tar.gz", "download"),
        ("/root/stable/+f/abc/def/demo-1.0+local-py3-none-any.whl.metadata", "download"),
        ("/legacy/+f/abc/def/demo-1.0.tar.gz", "download"),
        ("/root/stable/+integrity/demo/1.0/demo-1.0.tar.gz/provenance", "download"),
        ("/+integrity/demo/1.0/demo-1.0.tar.gz/provenance", "download"),
        ("/api/v1/verify/root/stable/demo/1.0/demo-1.0.tar.gz", "download"),
        ("/+f/abc/def/demo-1.0.tar.gz", "download"),
        ("/root/stable/+tuf/metadata/timestamp.json", "index"),
        ("/root/stable/+tuf/1.root.json", "index"),
        ("/root/stable/+tuf/files/ab/cdef/demo-1.0.tar.gz", "download"),
        ("/v1/query", "index"),
        ("/v1/querybatch", "index"),
        ("/v1/vulns/GHSA-aaaa-bbbb-cccc", "index"),
        ("/api/v1/trust", "signing"),
        ("/api/v1/trust/events/0193/signatures", "signing"),
        ("/api/v1/files/0193", "upload"),
        ("/api/v1/indexes/root/stable/projects", "upload"),
        ("/api/v1/indexes/root/stable/projects/demo/releases/1.0%2Blocal/files/demo-1.0.tar.gz/yank", "upload"),
        ("/api/v1/indexes/root/stable/publications", "index"),
        ("/api/v1/indexes/root/stable/head", "index"),
        ("/api/v1/indexes/root/stable/explain/demo", "index"),
        ("/api/v1/indexes/root/stable/holds", "index"),
        ("/api/v1/indexes/root/stable/mirrors", "index"),
        ("/api/v1/indexes/root/stable/downloads/demo", "download"),
        ("/api/v1/indexes/root/stable/approvals", "signing"),
        ("/api/v1/indexes/root/stable/approvals/0197", "signing"),
        ("/api/v1/indexes/root/stable/approval-demands/widget", "signing"),
        ("/api/v1/approval-keys", "signing"),
        ("/api/v1/indexes/root/pypi/attestations/00/demo-1.whl", "download"),
        ("/api/v1/indexes/root/stable/files/00/demo-1.whl/attestations", "upload"),
    ],
)
def test_each_face_has_its_service(path: str, service: str) -> None:
    """The routing table of architecture section 3, for the faces that exist."""
    assert _route(path) == ToService(service)


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/",
        "/api/v1/tokens",
        "/api/v1/indexes",
        "/api/v1/indexes/root/stable",
        "/api/v1/indexes/root/stable/grants",
        "/api/v1/indexes/root/projects",
        "/api/v1/indexes/root/stable/projectsX",
        "/api/v1/indexes/root/stable/heads",
        "/api/v1/files",
        "/_/secrets/disclose-token",
        "/_/oidc/audience",
        "/_/oidc/github/mint-token",
        "/.well-known/pytp",
        "/api/v1/indexes/root/stable/publishers",
    ],
)
def test_the_gateway_answers_the_rest_of_the_api(path: str) -> None:
    """Accounts, tokens, indexes and their grants are the gateway's, and every path that only looks like a service's."""
    assert _route(path) is Own.API


@pytest.mark.parametrize("path", ["/+api", "/+login", "/+status", "/root", "/root/", "/root/stable", "/root/stable/"])
def test_the_gateway_writes_devpis_documents_of_accounts_and_indexes(path: str) -> None:
    """What an index is, the gateway says; a file posted to the same address is for upload."""
    assert isinstance(_route(path), Devpi)
    assert route("/root/stable/", b"/root/stable/", "POST") == ToService("upload")


@pytest.mark.parametrize(("path", "own"), [("/healthz", Own.HEALTHZ), ("/readyz", Own.READYZ), ("/", Own.ROOT)])
def test_the_gateway_answers_its_own(path: str, own: Own) -> None:
    """Health and the root of the host are no service's."""
    assert _route(path) is own


@pytest.mark.parametrize(
    "path",
    [
        "/metrics", "/api/v2/files/x", "/api/v2/", "/api",
        "/root/stable/+conan/v2/ping", "/root/stable/a/b/c/", "/healthz/", "/static/stable/+simple/",
        "/_/oidc", "/_/else", "/.well-known",
    ],
)  # fmt: skip
def test_what_is_not_there_is_nowhere(path: str) -> None:
    """Unknown paths, reserved account names and faces of later issues are 404 with words."""
    assert isinstance(_route(path), Nowhere)


@pytest.mark.parametrize("path", ["/+changelog/0", "/+changelog/7-"])
def test_the_protocol_of_devpi_replicas_is_refused(path: str) -> None:
    """What is left out of devpi answers as it does at a devpi-server that lets no replica in."""
    destination = _route(path)
    assert isinstance(destination, Nowhere)
    assert destination.kind is ErrorKind.FORBIDDEN


@pytest.mark.parametrize(
    "path",
    [
        "//root/stable/+simple/",
        "/root//stable/+simple/",
        "/root/stable//+simple/",
        "/root/stable/+simple//",
        "/root/stable/../../+simple/",
        "/root/stable/+tuf/files/..",
        "/root/stable/+f/%2e%2e/%2E%2E/private",
        "/root/stable/./+simple/",
        "/root/stable/%2e/",
        "/root%2fstable/+simple/",
        "/root/stable/+f/abc/def/..%2f..%2fprivate",
        "/root/stable/+f/abc%5cdef/x",
        "/root/stable/+f/abc\\def/x",
        "/root/stable/+simple/de%00mo/",
        "/root/stable/+simple/de%0d%0amo/",
        "/root/stable/+simple/%ff/",
        "/root/stable/+simple/" + "x" * MAX_PATH,
        "*",
        "",
    ],
)
def test_hostile_paths_lead_nowhere(path: str) -> None:
    """A path that two readers could understand in two ways is not handed on."""
    assert not plainly_written(unquote(path), path.encode())
    assert isinstance(_route(path), Nowhere)


@pytest.mark.parametrize(
    ("method", "content_type", "form"),
    [
        ("POST", "multipart/form-data; boundary=x", True),
        ("POST", "Application/X-WWW-Form-Urlencoded", True),
        ("POST", "application/json", False),
        ("GET", "multipart/form-data; boundary=x", False),
    ],
)
def test_upload_tools_are_known_by_their_body(method: str, content_type: str, form: bool) -> None:
    """Only a posted form gets plain text for an unknown path."""
    assert is_form_like(method, content_type) is form


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/a b", "username 'a b' contains characters that aren't allowed."),
        ("/alice/x!", "indexname 'x!' contains characters that aren't allowed."),
        ("/alice@example.org", "username 'alice@example.org' cannot be used here"),
        ("/\u00fcber/dev", "username '\\xfcber' cannot be used here"),
        ("/.x", "username '.x' cannot be used here"),
        ("/Packages", "username 'Packages' is reserved for a path of this host."),
    ],
)
def test_a_name_that_nobody_can_have_is_told_in_devpis_words(path: str, words: str) -> None:
    """Of an account, or of an index; in ASCII."""
    told = misnamed(path)
    assert told is not None
    assert told.startswith(words)
    assert told.isascii()


@pytest.mark.parametrize("path", ["/", "/+x", "/+simple/x", "/a/b/c!", "/a//b"])
def test_other_paths_name_nobody(path: str) -> None:
    """What is no account's and no index's path is not there at all."""
    assert misnamed(path) is None
