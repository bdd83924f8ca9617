"""The attestations that lie beside a file, on their way to an index together with it.

What a form can hold goes with the file, in its field: so it is there when a policy decides about the file. What fits
into a PEP 740 attestation goes as one, which every index reads; what does not (logs of the second version, authorities
without a log, keys, other predicates) goes beside those as the bundle that it is, which registries of ours read. What
is too much for a form goes to the registry's own endpoint, once the file is there. Nothing that lies there is left out
silently.

Source: PEP 740, "Upload endpoint changes"; contract python-index section 4.1; trust contract section 5.2; ADR 0037.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from countermark.attesting.beside import ATTESTATION, BUNDLE
from countermark.attesting.statements import subject_of
from countermark.core.attestations.bundle import MAX_BUNDLE_BYTES, read_bundle
from countermark.core.attestations.converting import pep740_of
from countermark.core.attestations.making import Subject
from countermark.core.attestations.provenance import read_attestation
from countermark.core.attestations.results import Failed
from countermark.core.attestations.statement import check_subject, find_subject, read_any_statement, read_statement
from countermark.core.errors import ClientError, UploadRefused, UsageFault
from countermark.core.strict_json import read_json
from countermark.credentials import Credentials
from countermark.location import parse_location
from countermark.publish import Kept
from countermark.registry import Registry, index_path, registry_base

MOST_IN_FORM = 4
"""Attestations that an index takes with a file; of PEP 740 objects one of each predicate type."""

MAX_FIELD_BYTES = 1 << 20
"""Bytes of all of them in the form."""

MOST = 16
"""Attestations that are looked for beside a file."""

_SLSA = "https://slsa.dev/provenance/"

_AGAIN = "Run this again: what is there already is taken once more without harm."


@dataclass(frozen=True, slots=True)
class Beside:
    """What lies beside a file.

    Attributes:
        in_form: JSON of PEP 740 objects and of bundles, in the order in which they are sent.
        posted: file -> the bytes that are sent.
    """

    subject: Subject
    in_form: tuple[str, ...] = ()
    posted: Mapping[Path, bytes] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.in_form) + len(self.posted)

    @property
    def fields(self) -> dict[str, str | list[str]]:
        """What the form says of them."""
        return {"attestations": f"[{','.join(self.in_form)}]"} if self.in_form else {}


class Sending:
    """Finds attestations and sends what the form cannot hold.

    Args:
        url: the index, as uploads name it.
        credentials: a token that may upload there.
    """

    def __init__(self, url: str, credentials: Credentials | None) -> None:
        self._url = url
        self._credentials = credentials

    def read(self, path: Path) -> Beside:
        """Return the attestations of a file: FILE.sigstore.json, FILE.*.sigstore.json and FILE.*.attestation.

        Raises:
            UsageFault: one of them is none, or is about another file; or there are too many.
        """
        found = sorted(
            one
            for one in path.parent.iterdir()
            if one.name.startswith(f"{path.name}.") and one.name.endswith((BUNDLE, ATTESTATION))
        )
        if len(found) > MOST:
            raise UsageFault(f"{len(found)} attestations lie beside {path}", f"Leave at most {MOST} there.")
        subject = subject_of(path)
        objects: dict[str, Mapping[str, Any]] = {}
        others: dict[Path, tuple[str, bytes]] = {}
        for one in found:
            body = _content(one)
            kind, document = _understood(one, body, subject)
            if document is not None and objects.get(kind) == document:
                continue  # The same, in both of its forms.
            if document is None or kind in objects:
                others[one] = kind, body
            else:
                objects[kind] = document
        in_form = [json.dumps(document) for document in objects.values()]
        posted = _beside_objects(others, in_form)
        return Beside(subject, tuple(in_form), posted)

    def send(self, path: Path, beside: Beside) -> Kept:
        """Send what the form did not hold, and return what the index keeps of it; the file is there by now.

        Raises:
            UploadRefused: the registry did not take one, which is named.
        """
        if not beside.posted:
            return Kept(0, 0)
        where, new = "attestations", 0
        try:
            location = parse_location(self._url)
            registry = Registry(registry_base(location), self._credentials)
            to = index_path(location.index, "files", beside.subject.sha256, beside.subject.name, "attestations")
            for one, body in beside.posted.items():
                where = one.name
                new += registry.send(to, body).document.get("added") is True
        except ClientError as error:
            problem = f"{path.name} is in the index, and {where} was not taken: {error.problem}"
            raise UploadRefused(problem, error.remedy or _AGAIN) from error
        return Kept(len(beside.posted), new)


def _beside_objects(others: Mapping[Path, tuple[str, bytes]], in_form: list[str]) -> dict[Path, bytes]:
    """Add to a form the bundles that it can hold, build provenance first, which policies ask for; returns the rest."""
    posted: dict[Path, bytes] = {}
    room = MAX_FIELD_BYTES - len(f"[{','.join(in_form)}]".encode())
    for path, (_, body) in sorted(others.items(), key=lambda one: (not one[1][0].startswith(_SLSA), one[0])):
        # With the comma before it.
        if path.name.endswith(BUNDLE) and len(in_form) < MOST_IN_FORM and len(body) < room:
            in_form.append(body.decode())
            room -= len(body) + 1
        else:
            posted[path] = body
    return posted


def _understood(path: Path, body: bytes, subject: Subject) -> tuple[str, Mapping[str, Any] | None]:
    """Return the type of an attestation's predicate, and its PEP 740 object; None where it is or may be none.

    Raises:
        UsageFault: it cannot be read, or is about another file.
    """
    try:
        if path.name.endswith(BUNDLE):
            bundle = read_bundle(body)
            payload, document = bundle.payload, pep740_of(bundle)
        else:
            document = read_json(body)
            payload = read_attestation(document).statement
        statement = read_any_statement(payload)
        find_subject(statement, subject.name, subject.sha256)
    except (Failed, ValueError) as error:
        remedy = "Attest the file anew, or take this away; --no-attestations sends none."
        raise UsageFault(f"{path} cannot be sent with {subject.name}: {error}", remedy) from error
    try:
        check_subject(read_statement(payload), subject.name, subject.sha256)
    except Failed:
        # Good, and nothing that PEP 740 knows.
        return statement.predicate_type, None
    return statement.predicate_type, document


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BUNDLE_BYTES + 1)
    except OSError as error:
        raise UsageFault(f"cannot read {path}: {error.strerror or error}") from error
