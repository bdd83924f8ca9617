"""Paths are read one way by everybody."""

from __future__ import annotations

import pytest

from countermark.core.names import IndexName
from shared.faces import Face, FaceKind, parse_face, service_for

STABLE = IndexName("root", "stable")


@pytest.mark.parametrize(
    ("path", "index", "kind", "rest", "base"),
    [
        ("/root/stable", STABLE, FaceKind.INDEX, "", "/root/stable/"),
        ("/root/stable/", STABLE, FaceKind.INDEX, "", "/root/stable/"),
        ("/root/stable/+simple", STABLE, FaceKind.SIMPLE, "", "/root/stable/"),
        ("/root/stable/+simple/", STABLE, FaceKind.SIMPLE, "", "/root/stable/"),
        ("/root/stable/+simple/demo/", STABLE, FaceKind.SIMPLE, "demo/", "/root/stable/"),
        ("/root/stable/+f/abc/def/demo-1.0.tar.gz", STABLE, FaceKind.FILE, "abc/def/demo-1.0.tar.gz", "/root/stable/"),
        ("/root/stable/+tuf/metadata/1.root.json", STABLE, FaceKind.TUF, "metadata/1.root.json", "/root/stable/"),
        ("/root/stable/pypi/demo/json", STABLE, FaceKind.JSON, "demo/json", "/root/stable/"),
        ("/root/pypi/pypi/demo/1.0/json/", IndexName("root", "pypi"), FaceKind.JSON, "demo/1.0/json/", "/root/pypi/"),
        ("/pypi/demo/json", None, FaceKind.JSON, "demo/json", "/"),
        ("/simple/", None, FaceKind.SIMPLE, "", "/"),
        ("/simple/demo/", None, FaceKind.SIMPLE, "demo/", "/"),
        ("/+simple/demo/", None, FaceKind.SIMPLE, "demo/", "/"),
        ("/+f/abc/def/demo-1.0.tar.gz", None, FaceKind.FILE, "abc/def/demo-1.0.tar.gz", "/"),
        (
            "/root/stable/+integrity/demo/1.0/x.whl/provenance",
            STABLE,
            FaceKind.INTEGRITY,
            "demo/1.0/x.whl/provenance",
            "/root/stable/",
        ),
        ("/+integrity/demo/1.0/x.whl/provenance", None, FaceKind.INTEGRITY, "demo/1.0/x.whl/provenance", "/"),
        ("/+tuf/timestamp.json", None, FaceKind.TUF, "timestamp.json", "/"),
        ("/+api", None, FaceKind.API, "", "/"),
        ("/+login", None, FaceKind.LOGIN, "", "/"),
        ("/+status", None, FaceKind.STATUS, "", "/"),
        ("/root", None, FaceKind.USER, "root", "/"),
        ("/root/", None, FaceKind.USER, "root", "/"),
        ("/root/+api", None, FaceKind.API, "root", "/"),
        ("/root/stable/+api", STABLE, FaceKind.API, "", "/root/stable/"),
        ("/root/stable/demo", STABLE, FaceKind.PROJECT, "demo", "/root/stable/"),
        ("/root/stable/De.mo/", STABLE, FaceKind.PROJECT, "De.mo/", "/root/stable/"),
        ("/root/stable/demo/1!1.0+x", STABLE, FaceKind.VERSION, "demo/1!1.0+x", "/root/stable/"),
        ("/root/stable/pypi/1.0/", STABLE, FaceKind.VERSION, "pypi/1.0/", "/root/stable/"),
        ("/root/stable/demo/1.0/+doc/", STABLE, FaceKind.DOC, "demo/1.0/", "/root/stable/"),
        ("/root/stable/demo/1.0/+doc", STABLE, FaceKind.DOC, "demo/1.0", "/root/stable/"),
        ("/root/stable/demo/1.0/+d/a/b.html", STABLE, FaceKind.DOC, "demo/1.0/a/b.html", "/root/stable/"),
        ("/root/stable/+at/2024-01-01/+simple/x/", STABLE, FaceKind.AT, "2024-01-01/+simple/x/", "/root/stable/"),
        ("/root/stable/+at/then", STABLE, FaceKind.AT, "then", "/root/stable/"),
        ("/root/stable/+at/then/+f/abc/def/x.whl", STABLE, FaceKind.FILE, "abc/def/x.whl", "/root/stable/+at/then/"),
        ("/legacy", None, FaceKind.INDEX, "", "/legacy/"),
        ("/legacy/", None, FaceKind.INDEX, "", "/legacy/"),
        ("/legacy/+simple/demo/", None, FaceKind.SIMPLE, "demo/", "/legacy/"),
    ],
)
def test_each_face_has_its_paths(path: str, index: IndexName | None, kind: FaceKind, rest: str, base: str) -> None:
    """Every address of architecture section 3 that exists today is taken apart into index, face, rest and base."""
    assert parse_face(path) == Face(index, kind, rest, base)


@pytest.mark.parametrize(
    "path",
    [
        *("/", "", "/api/v1", "/static/x", "/root/sta ble/", "/+conan/x", "/-/x/", "/+api/", "/+login/"),
        *("/root/stable/+conan/x", "/root/stable/a/b/c", "/legacy/demo", "/ro ot", "/simple+x"),
    ],
)
def test_other_paths_belong_to_no_face(path: str) -> None:
    """What is no index, or a face that does not exist, is None and not a guess."""
    assert parse_face(path) is None


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/root/stable/", "gateway"),
        ("/root", "gateway"),
        ("/root/stable/+api", "gateway"),
        ("/root/stable/demo", "index"),
        ("/root/stable/demo/1.0/", "index"),
        ("/root/stable/demo/1.0/+doc/", "download"),
        ("/legacy/", "upload"),
        ("/root/stable/+simple/demo/", "index"),
        ("/root/stable/pypi/demo/json", "index"),
        ("/root/stable/+at/2024-01-01T00:00:00Z/+simple/demo/", "index"),
        ("/root/stable/+at/2024-01-01T00:00:00Z/+f/abc/def/demo-1.0.tar.gz", "download"),
        ("/root/stable/+f/abc/def/demo-1.0.tar.gz", "download"),
        ("/root/stable/+tuf/metadata/timestamp.json", "index"),
        ("/root/stable/+tuf/targets/x", "index"),
        ("/root/stable/+tuf/files/ab/cd/demo-1.0.tar.gz", "download"),
        ("/root/stable/+tuf/attestations/demo/demo-1.0.tar.gz.bundles.json", "download"),
    ],
)
def test_each_face_has_one_service(path: str, service: str) -> None:
    """Uploads, pages and bytes each go to the service that owns them."""
    face = parse_face(path)
    assert face is not None
    assert service_for(face) == service


@pytest.mark.parametrize(
    ("path", "method", "service"),
    [
        ("/root/stable/", "POST", "upload"),
        ("/legacy/", "POST", "upload"),
        ("/root/stable", "PATCH", "gateway"),
        ("/root/stable/demo/1.0", "DELETE", "upload"),
        ("/root/stable/demo/", "DELETE", "upload"),
        ("/root/stable/+f/abc/def/demo-1.0.tar.gz", "POST", "upload"),
        ("/root/stable/+f/abc/def/demo-1.0.tar.gz", "HEAD", "download"),
        ("/root/stable/+simple/demo/refresh", "POST", "index"),
    ],
)
def test_what_changes_goes_to_its_only_writer(path: str, method: str, service: str) -> None:
    """Of one address, reads and writes may belong to two services."""
    face = parse_face(path)
    assert face is not None
    assert service_for(face, method) == service


@pytest.mark.parametrize("kind", FaceKind)
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_no_kind_of_face_is_without_a_service(kind: FaceKind, method: str) -> None:
    """A new kind needs a service, for reads and for changes."""
    assert service_for(Face(STABLE, kind, "", "/root/stable/"), method) in {"gateway", "upload", "index", "download"}
