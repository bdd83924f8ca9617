"""Row 16: an object store that was tampered with, read as any web server would serve it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from countermark.core.digest import Length, sha256_of
from countermark.core.pointer import Pointer, Resource, parse_pointer
from tests.e2e.attacks.conftest import Scene, Site
from tests.e2e.attacks.names import GADGET, INDEX, WHEEL, WIDGET
from tests.support.archives import make_wheel
from tests.support.tampering.forger import Forger
from tests.support.tampering.server import in_folder, tampering
from tests.support.tampering.table import Case, attacks
from tests.support.tampering.victim import Victim
from tests.support.uploading import post_file

pytestmark = pytest.mark.embedded


class Store:
    """A copy of the public side of the deployment's store, which may be written."""

    def __init__(self, folder: Path, site: Site) -> None:
        self.folder = folder
        # Linked, not copied: whatever is changed is put anew.
        shutil.copytree(site.deployment.tree, folder, copy_function=os.link)

    def file(self, name: str) -> Path:
        """Return where an uploaded file lies."""
        (found,) = [path for path in self.folder.glob(f"files/*/*/{name}") if b"evil.py" not in path.read_bytes()]
        return found

    def put(self, path: Path, data: bytes) -> None:
        """Put an object in the place of what was there."""
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


@pytest.fixture
def store(site: Site, tmp_path: Path) -> Store:
    """The store, not tampered with yet."""
    return Store(tmp_path / "store", site)


@pytest.fixture
def at_the_store(scene: Scene, store: Store) -> Iterator[Scene]:
    """The scene, but for that the store is read without the registry in front of it."""
    with tampering(in_folder(store.folder)) as server:
        client = Victim(scene.client.home, f"{server.url}/indexes/{INDEX}")
        root = scene.site.read("metadata/1.root.json")
        assert root is not None
        client.pin(root)
        yield Scene(scene.site, server, scene.forger, client, scene.record)


def _flip(store: Store, path: Path) -> None:
    data = path.read_bytes()
    store.put(path, data[:-1] + bytes([data[-1] ^ 1]))


def _flip_file(store: Store, _forger: Forger) -> None:
    _flip(store, store.file(WHEEL))


def _flip_pointer(store: Store, forger: Forger) -> None:
    _flip(store, store.folder / "indexes" / INDEX / forger.name_of_target(WIDGET))


def _attested(store: Store, forger: Forger) -> Path:
    """Publish a pointer that names an attestation; return where that lies."""
    bundle = b'{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json"}'
    pointer = parse_pointer(forger.target(WIDGET))
    key = f"files/{sha256_of(bundle)[:2]}/{sha256_of(bundle)[2:]}/{WHEEL}.sigstore.json"
    named = Resource(f"/{key}", sha256_of(bundle), Length(len(bundle)))
    attested = Pointer(pointer.name, pointer.version, pointer.index, pointer.file, named)
    forger.publish({WIDGET: attested.to_bytes()})
    for name, data in forger.files.items():
        store.put(store.folder / "indexes" / INDEX / name, data)
    store.put(store.folder / key, bundle)
    return store.folder / key


def _flip_attestation(store: Store, forger: Forger) -> None:
    _flip(store, _attested(store, forger))


def _swap_attestation(store: Store, forger: Forger) -> None:
    """Store something else of the same length in its place."""
    path = _attested(store, forger)
    store.put(path, b"{}".ljust(path.stat().st_size))


def _truncate_attestation(store: Store, forger: Forger) -> None:
    path = _attested(store, forger)
    store.put(path, path.read_bytes()[:-1])


def _delete_attestation(store: Store, forger: Forger) -> None:
    _attested(store, forger).unlink()


def _swap(store: Store, _forger: Forger) -> None:
    mine, other = store.file(WHEEL), store.file(GADGET)
    first, second = mine.read_bytes(), other.read_bytes()
    # Of one length, so that it is the digest that tells them apart.
    length = len(first)
    store.put(mine, second[:length].ljust(length, b"\0"))
    store.put(other, first)


def _truncate(store: Store, _forger: Forger) -> None:
    store.put(store.file(WHEEL), store.file(WHEEL).read_bytes()[:-1])


def _delete(store: Store, _forger: Forger) -> None:
    store.file(WHEEL).unlink()


@attacks(
    16,
    Case("a bit flipped in the file", 41, "has sha256", _flip_file),
    Case("a bit flipped in the pointer", 23, "does not match", _flip_pointer),
    Case("a bit flipped in the attestation", 50, "has sha256", _flip_attestation),
    Case("the attestation swapped for another object", 50, "has sha256", _swap_attestation),
    Case("the attestation truncated", 50, "bytes were signed", _truncate_attestation),
    Case("the attestation deleted", 10, "404", _delete_attestation),
    Case("two files swapped", 41, "has sha256", _swap),
    Case("the file truncated", 40, "bytes were signed", _truncate),
    Case("the file deleted", 10, "404", _delete),
)
def test_row_16_tampered_store(case: Case, store: Store, at_the_store: Scene) -> None:
    """Whatever is changed in the store is noticed by whoever reads it."""
    damage: Callable[[Store, Forger], None] = case.given
    damage(store, at_the_store.forger)
    at_the_store.ends(case, at_the_store.client.get("widget==1.10"))


@attacks(
    16, Case("a bit flipped in the file, read through the registry: it sends nothing but what was signed", 10, "503")
)
def test_row_16_through_the_registry(case: Case, scene: Scene) -> None:
    """The registry hashes what it reads, so the client hears that there is damage, not what it looks like."""
    name = "fragile-1.0-py3-none-any.whl"
    index = f"{scene.site.deployment.api}/{INDEX}"
    answer = post_file(index, scene.site.token, name, make_wheel("fragile", "1.0"))
    assert answer.status_code == 200, answer.text
    (path,) = scene.site.deployment.tree.glob(f"files/*/*/{name}")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    scene.ends(case, scene.client.get("fragile==1.0"))
    path.write_bytes(whole)
    assert scene.client.get("fragile==1.0").code == 0
