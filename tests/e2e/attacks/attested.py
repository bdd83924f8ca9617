"""A scene whose widget 1.10 has provenance, under a policy that the offline trust role signs."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from countermark.core.digest import Length, Sha256, sha256_of
from countermark.core.pointer import Pointer, Resource, parse_pointer
from tests.e2e.attacks.conftest import Scene
from tests.e2e.attacks.names import WHEEL, WIDGET
from tests.support.builds import ROOT_PATH, Pipeline, body
from tests.support.tampering.table import Case

Document = dict[str, Any]
"""A bundle in its JSON."""


@dataclass(frozen=True, slots=True)
class Attested:
    """What an attacker has who holds the bins' key: he lets the pointer name what bundle he likes.

    Attributes:
        content: the genuine bytes of the wheel.
    """

    scene: Scene
    pipeline: Pipeline
    content: bytes

    def name(self, bundle: bytes | None, content: bytes | None = None) -> None:
        """Sign a pointer that names a bundle, and other bytes than the genuine ones where some are given."""
        pointer = parse_pointer(self.scene.forger.target(WIDGET))
        file = pointer.file if content is None else self._lay(content, WHEEL)
        named = None if bundle is None else self._lay(bundle, f"{WHEEL}.sigstore.json")
        forged = Pointer(pointer.name, pointer.version, pointer.index, file, named)
        self.scene.forger.publish({WIDGET: forged.to_bytes()})

    def trust(self, targets: Mapping[str, bytes]) -> None:
        """Have the trust role's own keys sign targets."""
        for path, data in targets.items():
            self.scene.forger.put_trusted(path, data)

    def genuine(self, **how: Any) -> Document:
        """Return a genuine bundle; `how` is for `Pipeline.bundle`."""
        made: Document = json.loads(self.pipeline.bundle(WHEEL, self.content, **how))
        return made

    def ends(self, case: Case) -> None:
        """Download the wheel by its name, as a client that nobody warned."""
        self.scene.ends(case, self.scene.client.get("widget", "--file", WHEEL))

    def _lay(self, data: bytes, name: str) -> Resource:
        digest: Sha256 = sha256_of(data)
        key = f"files/{digest[:2]}/{digest[2:]}/{name}"
        self.scene.forger.files[key] = data
        return Resource(f"/{key}", digest, Length(len(data)))


Forge = Callable[[Attested], bytes | Document]
"""Makes the bundle of an attack."""


def attested(scene: Scene, pipeline: Pipeline | None = None) -> Attested:
    """Return the scene with policy and root signed by the trust role, and the genuine bundle named."""
    pointer = parse_pointer(scene.forger.target(WIDGET))
    content = scene.site.read(pointer.file.uri.removeprefix("/"))
    assert content is not None
    made = Attested(scene, pipeline or Pipeline(), content)
    made.trust(made.pipeline.trusted())
    made.name(body(made.genuine()))
    return made


def attack(case: Case, scene: Scene) -> None:
    """Let the pointer name what a case forges, and see how the client ends."""
    forge: Forge = case.given
    made = attested(scene)
    bundle = forge(made)
    made.name(bundle if isinstance(bundle, bytes) else body(bundle))
    made.ends(case)


def entry_of(bundle: Document) -> Document:
    """Return the log entry of a bundle, to be altered."""
    [entry] = bundle["verificationMaterial"]["tlogEntries"]
    found: Document = entry
    return found


def flipped(text: str) -> str:
    """Return base64 with one bit of its last byte changed."""
    data = base64.b64decode(text)
    return base64.b64encode(data[:-1] + bytes([data[-1] ^ 1])).decode()


__all__ = ["ROOT_PATH", "Attested", "Document", "Forge", "attack", "attested", "entry_of", "flipped"]
