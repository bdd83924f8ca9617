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
        ("/+tuf/timestamp.json", None, FaceKind.TUF, "timestamp.json", "/"),
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
    ["/", "", "/root", "/root/", "/api/v1", "/static/x", "/root/stable/other/", "/root/sta ble/", "/+conan/x", "/-/x/"],
)
def test_other_paths_belong_to_no_face(path: str) -> None:
    """What is no index, or a face that does not exist, is None and not a guess."""
    assert parse_face(path) is None


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/root/stable/", "upload"),
        ("/legacy/", "upload"),
        ("/root/stable/+simple/demo/", "index"),
        ("/root/stable/pypi/demo/json", "index"),
        ("/root/stable/+f/abc/def/demo-1.0.tar.gz", "download"),
        ("/root/stable/+tuf/metadata/timestamp.json", "index"),
        ("/root/stable/+tuf/targets/x", "index"),
        ("/root/stable/+tuf/files/ab/cd/demo-1.0.tar.gz", "download"),
    ],
)
def test_each_face_has_one_service(path: str, service: str) -> None:
    """Uploads, pages and bytes each go to the service that owns them."""
    face = parse_face(path)
    assert face is not None
    assert service_for(face) == service
