"""`countermark upload` sends the attestations that lie beside files: in the form, or to the registry's endpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from countermark.core.digest import sha256_of
from tests.support.sigstore.instance import PUBLISH, SLSA, Instance, pep740, statement
from tests.support.sigstore.keys import new_key
from tests.unit.client.archives import wheel
from tests.unit.client.conftest import Run
from tests.unit.client.loopback import Loopback, reply
from tests.unit.client.test_publish import Taking


class Registry:
    """An index that takes uploads and attestations."""

    def __init__(self, server: Loopback, file: Path) -> None:
        self.form = Taking(server)
        self.url = f"{server.url}/root/stable"
        self.posted: list[bytes] = []
        self.status, self.answer = 200, b'{"added": true}'
        digest = sha256_of(file.read_bytes())
        server.paths[f"/api/v1/indexes/root/stable/files/{digest}/{file.name}/attestations"] = self.take

    def take(self, handler: BaseHTTPRequestHandler) -> None:
        """Keep what is posted."""
        self.posted.append(handler.rfile.read(int(handler.headers["content-length"])))
        reply(handler, self.status, self.answer, **{"Content-Type": "application/json"})

    @property
    def in_form(self) -> list[Any] | None:
        """What the form's field holds."""
        field = self.form.fields.get("attestations")
        return None if field is None else json.loads(field[0])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A wheel."""
    return wheel(tmp_path)


@pytest.fixture
def registry(server: Loopback, file: Path) -> Registry:
    """An index."""
    return Registry(server, file)


def beside(file: Path, bundle: Mapping[str, Any], suffix: str = ".sigstore.json") -> bytes:
    """Write something beside a file; returns its bytes."""
    body = json.dumps(bundle, indent=1).encode()
    file.with_name(file.name + suffix).write_bytes(body)
    return body


def test_what_fits_goes_with_the_file(run: Run, registry: Registry, file: Path) -> None:
    """Bundles of the first log become PEP 740 attestations in the form; one that lies there twice is sent once."""
    instance, data = Instance(), file.read_bytes()
    built = instance.sign(statement(file.name, data, SLSA))
    published = pep740(instance.sign(statement(file.name, data, PUBLISH)))
    beside(file, built)
    beside(file, pep740(built), ".slsa.attestation")
    beside(file, published, ".publish.attestation")
    done = run("upload", file, "--index", registry.url, "--token", "t", "--json")
    assert done.exit_code == 0, done.stderr
    # An index of another maker, say: it does not tell what it did with them.
    assert json.loads(done.stdout)["attestations"] == {"sent": 2, "kept": None, "new": None}
    assert registry.in_form is not None
    assert sorted(registry.in_form, key=str) == sorted([published, pep740(built)], key=str)
    assert registry.posted == []


def test_what_no_object_can_hold_goes_with_the_file_too(run: Run, registry: Registry, file: Path) -> None:
    """The second log, keys, and other predicates are in the form as they are, build provenance first."""
    instance, data = Instance(), file.read_bytes()
    slsa = statement(file.name, data, SLSA)
    scan = instance.sign(statement(file.name, data, "https://spdx.dev/Document"))
    second, keyed = instance.sign(slsa, log="v2"), instance.sign_with_key(slsa, new_key())
    beside(file, scan, ".a.sigstore.json")
    bodies = [beside(file, second, ".b.sigstore.json"), beside(file, keyed, ".c.sigstore.json")]
    registry.form.headers["X-Countermark-Attestations"] = "kept=3, new=2"
    done = run("upload", file, "--index", registry.url, "--token", "t", "--json")
    assert done.exit_code == 0, done.stderr
    assert registry.in_form == [second, keyed, scan]
    [field] = registry.form.fields["attestations"]
    assert all(body in field for body in bodies)
    assert registry.posted == []
    assert json.loads(done.stdout)["attestations"] == {"sent": 3, "kept": 3, "new": 2}


def test_what_the_form_cannot_hold_goes_to_the_endpoint(run: Run, registry: Registry, file: Path) -> None:
    """A fifth attestation, other predicates before build provenance, is posted byte for byte."""
    instance, data = Instance(), file.read_bytes()
    slsa = statement(file.name, data, SLSA)
    second, keyed = instance.sign(slsa, log="v2"), instance.sign_with_key(slsa, new_key())
    first, again = instance.sign(slsa), instance.sign(slsa)
    beside(file, second, ".a.sigstore.json")
    beside(file, keyed, ".b.sigstore.json")
    scan = beside(file, instance.sign(statement(file.name, data, "https://spdx.dev/Document")), ".c.sigstore.json")
    beside(file, first, ".d.sigstore.json")
    beside(file, again, ".e.sigstore.json")
    registry.form.headers["X-Countermark-Attestations"] = "kept=4, new=4"
    done = run("upload", file, "--index", registry.url, "--token", "t", "--json")
    assert done.exit_code == 0, done.stderr
    assert registry.in_form == [pep740(first), second, keyed, again]
    assert registry.posted == [scan]
    assert json.loads(done.stdout)["attestations"] == {"sent": 5, "kept": 5, "new": 5}


def test_what_is_too_long_for_the_form_goes_to_the_endpoint(run: Run, registry: Registry, file: Path) -> None:
    """The field has a mebibyte; two bundles of more than half of one are sent one by one."""
    slsa = statement(file.name, file.read_bytes(), SLSA, predicate={"buildDefinition": {"x": "y" * (400 << 10)}})
    bundles = [Instance().sign(slsa, log="v2") for _ in range(2)]
    bodies = [beside(file, bundle, f".{number}.sigstore.json") for number, bundle in enumerate(bundles)]
    done = run("upload", file, "--index", registry.url, "--token", "t")
    assert done.exit_code == 0, done.stderr
    assert (registry.in_form, registry.posted) == (bundles[:1], bodies[1:])


def test_none_are_sent_when_told_so(run: Run, registry: Registry, file: Path) -> None:
    """Without attestations the form has no field of them."""
    beside(file, Instance().sign(statement(file.name, file.read_bytes(), SLSA)))
    done = run("upload", file, f"{file}.sigstore.json", "--no-attestations", "--index", registry.url, "--token", "t")
    assert done.exit_code == 0, done.stderr
    assert (registry.in_form, registry.posted) == (None, [])


@pytest.mark.parametrize("what", ["other bytes", "other name", "cut", "huge", "object"])
def test_what_is_none_of_the_file_stops_it(run: Run, registry: Registry, file: Path, what: str) -> None:
    """An attestation about another file, a broken or a huge one is refused before anything is sent."""
    instance, data = Instance(), file.read_bytes()
    about = {"other bytes": statement(file.name, b"other", SLSA), "other name": statement("other-1.tar.gz", data, SLSA)}
    body = json.dumps(instance.sign(about.get(what, statement(file.name, data, SLSA))))
    content = {"cut": body[:-20], "huge": body + " " * (1 << 20), "object": "{}"}.get(what, body)
    file.with_name(f"{file.name}.sigstore.json").write_text(content)
    done = run("upload", file, "--index", registry.url, "--token", "t")
    assert done.exit_code == 2, done.stderr
    assert "cannot be sent" in done.stderr
    assert registry.form.fields == {}


def test_a_refused_attestation_is_told_with_the_file(run: Run, registry: Registry, file: Path) -> None:
    """When the endpoint refuses one, the run fails, says that the file is in, and which attestation is not."""
    registry.status, registry.answer = 403, json.dumps({"detail": "the check log fails"}).encode()
    slsa = statement(file.name, file.read_bytes(), SLSA)
    for number in range(5):
        beside(file, Instance().sign(slsa, log="v2"), f".{number}.sigstore.json")
    done = run("upload", file, "--index", registry.url, "--token", "t")
    assert done.exit_code == 1
    assert f"{file.name} is in the index" in done.stderr
    assert "the check log fails" in done.stderr
