"""The program that verifies one provenance object and ends: standard input to standard output, both JSON.

It has no network to use, no secrets in its environment, and bounds on memory and time that it sets itself.
Source: ADR 0031; contract python-index sections 4.2 and 4.3.
"""

from __future__ import annotations

import base64
import os
import resource
import sys
from contextlib import suppress
from typing import Any

import orjson

from countermark.core.attestations.results import document_of
from countermark.core.attestations.trust_root import BadRoot, Root, public_root
from countermark.core.attestations.verifying import ProvenanceVerifier
from countermark.core.digest import Sha256, sha256_of
from shared.strict_json import read_json

MEMORY = 1 << 30
"""Bytes of address space; it uses some 70 MB of memory."""

CPU_SECONDS = 10


def main() -> None:
    """Answer the one question on standard input."""
    _bound()
    asked = orjson.loads(sys.stdin.buffer.read())
    sys.stdout.buffer.write(orjson.dumps(answer(asked)))


def answer(asked: dict[str, Any]) -> dict[str, Any]:
    """Return the report on a provenance object, or why the trust root cannot be used.

    Args:
        asked: `provenance` and `trusted_root` (null for the public one) in base64, `file_name`, `sha256`.
    """
    own = asked["trusted_root"]
    content = public_root() if own is None else base64.b64decode(own)
    try:
        root = Root(content)
    except BadRoot as error:
        return {"bad_root": str(error)}
    body, file_name = base64.b64decode(asked["provenance"]), str(asked["file_name"])
    report = ProvenanceVerifier(root, read_json).verify(body, file_name, Sha256(asked["sha256"]))
    return {"report": document_of(report), "trusted_root": sha256_of(content)}


def _bound() -> None:
    """Take no more than is needed, and give way to what serves clients."""
    for kind, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CPU, CPU_SECONDS), (resource.RLIMIT_CORE, 0)):
        # Some systems do not let address space be bounded.
        with suppress(ValueError, OSError):
            resource.setrlimit(kind, (most, most))
    with suppress(OSError):
        os.nice(5)


if __name__ == "__main__":
    main()
