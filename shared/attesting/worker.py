"""The program that verifies attestations: questions on standard input, answers on standard output, until it is ended.

It has no network to use, no secrets in its environment, and bounds on memory and time that it sets itself. A question
that it has no answer to ends it: whoever asked tells of that.
Source: ADR 0031; ADR 0037; contract python-index sections 4.2 and 4.3.
"""

from __future__ import annotations

import base64
import os
import resource
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import orjson

from countermark.core.attestations.judgements import JudgedFile
from countermark.core.attestations.judging import Judge
from countermark.core.attestations.results import document_of
from countermark.core.attestations.roots import read_roots
from countermark.core.attestations.trust_material import TrustMaterial
from countermark.core.attestations.trust_root import BadRoot, Root, public_root
from countermark.core.attestations.verifying import ProvenanceVerifier
from countermark.core.digest import Sha256, sha256_of
from shared.attesting.frames import framed, read_frame
from shared.attesting.metadata import metadata_answer, trust_answer

MEMORY = 1 << 30
"""Bytes of address space; it uses some 70 MB of memory."""

CPU_SECONDS = 10
"""Of one question."""

_KEPT_ROOTS = 4
"""Roots of settings whose verifiers are kept; there is one, and another one while it is replaced."""


def main() -> None:
    """Answer until standard input ends."""
    _bound()
    answers = os.fdopen(os.dup(1), "wb")
    # What a library prints is no answer.
    os.dup2(2, 1)
    answering = Answering()
    while (question := read_frame(sys.stdin.buffer)) is not None:
        _bound_time()
        answers.write(framed(orjson.dumps(answering.answer(orjson.loads(question)))))
        answers.flush()


class Answering:
    """Answers questions; what it made of roots it keeps for the next."""

    def __init__(self) -> None:
        self._verifiers: dict[Sha256, ProvenanceVerifier] = {}
        self._judging = Judge()

    def answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to a question, by its `ask`."""
        match asked["ask"]:
            case "judge":
                return self._judge(asked)
            case "metadata":
                return metadata_answer(asked)
            case "trust":
                return trust_answer(asked)
            case "roots":
                return _faults_of_roots(asked)
            case _:
                return self._provenance(asked)

    def _judge(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Return the judgement on a file.

        Args:
            asked: `material` and `file` as documents, `named` (or null) and `others` in base64, `now` in seconds,
                `had_provenance`.
        """
        named = asked["named"]
        judgement = self._judging.judge(
            TrustMaterial.from_document(asked["material"]),
            JudgedFile.from_document(asked["file"]),
            None if named is None else base64.b64decode(named),
            [base64.b64decode(one) for one in asked["others"]],
            asked["now"],
            asked["had_provenance"],
        )
        return {"judgement": judgement.to_document()}

    def _provenance(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Return the report on a provenance object, or why the trust root cannot be used.

        Args:
            asked: `provenance` and `trusted_root` (null for the public one) in base64, `file_name`, `sha256`.
        """
        own = asked["trusted_root"]
        content = public_root() if own is None else base64.b64decode(own)
        root = sha256_of(content)
        try:
            verifier = self._verifiers.get(root) or ProvenanceVerifier(Root(content))
        except BadRoot as error:
            return {"bad_root": str(error)}
        if root not in self._verifiers and len(self._verifiers) >= _KEPT_ROOTS:
            self._verifiers.clear()
        self._verifiers[root] = verifier
        body, file_name = base64.b64decode(asked["provenance"]), str(asked["file_name"])
        report = verifier.verify(body, file_name, Sha256(asked["sha256"]))
        return {"report": document_of(report), "trusted_root": root}


def _faults_of_roots(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return which trust roots cannot be read, and why.

    Args:
        asked: `roots`, target path -> content in base64.
    """
    contents = {path: base64.b64decode(content) for path, content in asked["roots"].items()}
    read = read_roots(contents, contents.keys(), contents.keys())
    return {"faults": {one.name: one.refusal.detail for one in read if one.refusal is not None}}


def _bound() -> None:
    """Take no more memory than is needed, and give way to what serves clients."""
    for kind, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CORE, 0)):
        # Some systems do not let address space be bounded.
        with suppress(ValueError, OSError):
            resource.setrlimit(kind, (most, most))
    with suppress(OSError):
        os.nice(5)


def _bound_time() -> None:
    """Let the next question take so much of the processor and no more: the system ends the process then."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + 1 + CPU_SECONDS, hard))
