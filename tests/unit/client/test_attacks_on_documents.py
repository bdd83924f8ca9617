"""Attack stories of pointers and pages: of something else, malformed, or of another index. Rows: trust contract
section 6."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from countermark.core.names import parse_index_name
from tests.support.simulator import RepositorySimulator
from tests.unit.client.conftest import WHEEL, WHEEL_TARGET, Client


# Row 8: wrong software
def test_row_8_pointer_of_another_project(sim: RepositorySimulator, client: Client) -> None:
    """The signed pointer of B below A's path ends 31."""
    other = sim.add_file("gadget-1.10-py3-none-any.whl")
    sim.targets[WHEEL_TARGET] = other.to_bytes()
    sim.publish()
    assert client.get(file=WHEEL).code == 31


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'version: "1.10"', b'version: "1.11"'),
        (b'name: "widget"', b'name: "gadget"'),
        (b"/widget-1.10-py3", b"/widget-1.11-py3"),
        (b"/widget-1.10-py3-none-any.whl", b"/widget-1.10.tar.gz"),
    ],
)
def test_row_8_altered_fields(old: bytes, new: bytes, sim: RepositorySimulator, client: Client) -> None:
    """A pointer that differs from its path in name, version or file ends 31."""
    assert old in sim.targets[WHEEL_TARGET]
    sim.targets[WHEEL_TARGET] = sim.targets[WHEEL_TARGET].replace(old, new)
    sim.publish()
    assert client.get(file=WHEEL).code == 31


def test_row_8_latest_of_another_project(sim: RepositorySimulator, client: Client) -> None:
    """The `_latest` of B below A's path ends 31; so does one whose version is not its file's."""
    sim.add_file("gadget-3-py3-none-any.whl")
    mine = sim.targets["pointers/widget/_latest.pointer"]
    sim.targets["pointers/widget/_latest.pointer"] = sim.targets["pointers/gadget/_latest.pointer"]
    sim.publish()
    assert client.get(version=None).code == 31
    sim.targets["pointers/widget/_latest.pointer"] = mine.replace(b'version: "1.10"', b'version: "9"')
    sim.publish()
    assert client.get(version=None).code == 31


def test_row_8_page_of_another_project(sim: RepositorySimulator, client: Client) -> None:
    """The page document of B below A's path ends 31."""
    sim.add_file("gadget-1.10-py3-none-any.whl")
    sim.targets["pointers/widget/_simple.json"] = sim.targets["pointers/gadget/_simple.json"]
    sim.publish()
    assert client.get().code == 31


def test_page_and_pointer_must_agree(sim: RepositorySimulator, client: Client) -> None:
    """A page that states another digest than the pointer ends 31."""
    page = sim.targets["pointers/widget/_simple.json"]
    digest = sim.pointers[WHEEL].file.digest.encode()
    sim.targets["pointers/widget/_simple.json"] = page.replace(digest, b"0" * 64)
    sim.publish()
    assert client.get().code == 31


def test_row_9_extraneous_file(sim: RepositorySimulator, client: Client) -> None:
    """A file that the page lists and no target names ends 11."""
    del sim.targets[WHEEL_TARGET]
    sim.publish()
    assert client.get().code == 11


@pytest.mark.parametrize(("name", "version"), [("gizmo", "1"), ("gizmo", None), ("widget", "2")])
def test_unknown_names_end_11(name: str, version: str | None, client: Client) -> None:
    """A project or version that is not there ends 11."""
    assert client.get(name, version).code == 11


# Row 27: pointer parsing
def _digits(pointer: bytes) -> bytes:
    return pointer.replace(b"  length: 15", b"  length: -15")


HOSTILE_POINTERS: dict[str, Callable[[bytes], bytes]] = {
    "duplicate key": lambda text: text.replace(b"  length: 15\n", b"  length: 15\n  length: 16\n"),
    "tag": lambda text: text.replace(b"  length: 15", b"  length: !!int 15"),
    "alias": lambda text: text.replace(b'"widget"', b"&a widget").replace(b'"1.10"', b"*a"),
    "two documents": lambda text: text + b"---\n" + text,
    "five kilobytes": lambda text: text + b"#" * 5000,
    "dots in the uri": lambda text: text.replace(b'"/files/', b'"/files/../'),
    "another host": lambda text: text.replace(b'"/files/', b'"//host/'),
    "absolute uri": lambda text: text.replace(b'"/files/', b'"https://evil.example/'),
    "negative length": _digits,
    "boolean length": lambda text: text.replace(b"  length: 15", b"  length: true"),
    "upper-case digest": lambda text: text.replace(b"digest: ", b"digest: A"),
    "not YAML": lambda _: b"{",
    "empty": lambda _: b"\n",
}


@pytest.mark.parametrize("how", HOSTILE_POINTERS)
def test_row_27_hostile_pointers(how: str, sim: RepositorySimulator, client: Client) -> None:
    """A signed pointer that breaks a rule of its form ends 30 (one too long already before it is read)."""
    broken = HOSTILE_POINTERS[how](sim.targets[WHEEL_TARGET])
    assert broken != sim.targets[WHEEL_TARGET]
    sim.targets[WHEEL_TARGET] = broken
    sim.publish()
    assert client.get(file=WHEEL).code == 30


@pytest.mark.parametrize("page", [b"{", b"[]", b'{"meta": {"_index": "root/stable"}, "name": "widget"}', b"[" * 10_000])
def test_malformed_pages_end_30(page: bytes, sim: RepositorySimulator, client: Client) -> None:
    """A signed page document that is none ends 30."""
    sim.targets["pointers/widget/_simple.json"] = page
    sim.publish()
    assert client.get().code == 30


def test_row_28_local_versions_are_written_with_a_tilde(sim: RepositorySimulator, client: Client) -> None:
    """A `+` never reaches a target path, and the file keeps its name."""
    name = "widget-2.0+local.1-py3-none-any.whl"
    sim.add_file(name, b"local\n")
    sim.publish()
    assert [path.name for path in client.get(version="2.0+local.1").placed] == [name]
    assert not any("+" in key for key in sim.requests if "/targets/" in key)


# Row 31: other index
def test_row_31_the_tree_of_another_index(sim: RepositorySimulator, client: Client) -> None:
    """The whole tree of another index of the same keys, served as the one asked for, ends 31 by each way in."""
    other = RepositorySimulator("mallory/dev", sim.deployment)
    other.add_file(WHEEL, b"mallory's wheel\n")
    other.publish()
    other.index = parse_index_name("root/stable")
    moved = {key.replace("indexes/mallory/dev", "indexes/root/stable"): data for key, data in other.objects.items()}
    other.objects = moved
    fooled = Client(other, sim.location, client.home)
    for outcome in (fooled.get(), fooled.get(version=None), fooled.get(file=WHEEL)):
        assert outcome.code == 31
        assert "mallory/dev" in outcome.words
    assert fooled.left_behind() == []


def test_row_31_page_and_latest_that_claim_another_index(sim: RepositorySimulator, client: Client) -> None:
    """Page and `_latest` are bound to the index on their own, before any pointer is read."""
    sim.render("widget", index="mallory/dev")
    sim.publish()
    assert client.get().code == 31
    assert client.get(version=None).code == 31
    assert client.get(file=WHEEL).code == 0
