"""A judge that is kept, and the documents by which files, material and judgements go through pipes."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import pytest

from countermark.core.attestations.judgements import JudgedFile, Judgement, MalformedJudgement
from countermark.core.attestations.judging import Judge
from countermark.core.attestations.trust_material import TrustMaterial
from tests.support.sigstore.instance import Instance
from tests.unit.attestations.judging import FILE, NOW, judged, made, of


class TestJudge:
    """One that is kept."""

    def test_keeps_what_it_read(self, instance: Instance) -> None:
        """Another policy is another judge, and the old one's answers stay the same."""
        kept, named = Judge(), made(instance)
        denying = 'schema: "policy/v1"\npackages: [{match: "*", deny: true}]\n'
        for _ in range(3):
            assert kept.judge(of(instance), FILE, named, (), NOW, None).passed
            assert kept.judge(of(instance, denying), FILE, None, (), NOW, None).exit_code == 62
        for number in range(12):
            assert kept.judge(of(instance, denying + f"# {number}\n"), FILE, None, (), NOW, None).exit_code == 62
        assert len(kept._warm) == 8


def in_base64(part: bytes) -> str:
    """Return bytes as they stand in JSON."""
    return base64.b64encode(part).decode()


class TestDocuments:
    """What goes through pipes."""

    def test_files_and_material(self, instance: Instance) -> None:
        """A file and material come back as they went."""
        assert JudgedFile.from_document(json.loads(json.dumps(FILE.to_document()))) == FILE
        material = of(instance)
        again = TrustMaterial.from_document(json.loads(json.dumps(material.to_document(), default=in_base64)))
        assert again == material
        assert again.sha256() == material.sha256()
        assert material.sha256() != of(instance, None).sha256()
        assert TrustMaterial(b"a", {}).sha256() != TrustMaterial(None, {"policy": b"a"}).sha256()

    def test_forged_judgements(self, instance: Instance, material: TrustMaterial) -> None:
        """A document that passes what its verdict refuses, or says two things of a bundle, is none."""
        document = judged(material, None).to_document()
        bad: Sequence[Any] = [
            document | {"exit_code": 0},
            document | {"exit_code": 7},
            document | {"exit_code": True},
            {},
            [],
        ]
        good = judged(material, made(instance)).to_document()
        [report] = good["bundles"]
        more = [{"failure": {"step": "log", "detail": "x"}}, {"verified": None}, {"steps": [{"step": "x"}]}]
        bad = [*bad, *(good | {"bundles": [report | one]} for one in more)]
        facts = report["verified"]
        wrong: list[dict[str, Any]] = [{"log": "v3"}, {"signed_at": True}, {"certificate": {"a": 1}}, {"more": 1}]
        bad = [*bad, *(good | {"bundles": [report | {"verified": facts | one}]} for one in wrong)]
        for one in bad:
            with pytest.raises(MalformedJudgement):
                Judgement.from_document(one)
        for one in ({}, FILE.to_document() | {"sha256": "x"}, FILE.to_document() | {"index": 1}):
            with pytest.raises(MalformedJudgement):
                JudgedFile.from_document(one)
