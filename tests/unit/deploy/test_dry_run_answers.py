"""What a dry run tells of a file, and of all of them. Pure."""

from __future__ import annotations

from collections import Counter

import orjson

from countermark.core.attestations.judgements import Judgement
from countermark.core.digest import Sha256
from countermark.core.names import FileName, IndexName, NormalizedName
from deploy.dry_running import Counts, Refused
from shared.catalogue.dry_run import HostedFile
from shared.ids import IndexId, new_uuid
from tests.support.policies import FILE, judged

HOSTED = HostedFile(
    index_id=IndexId(new_uuid()),
    index=IndexName("root", "stable"),
    public=True,
    project=NormalizedName("widget"),
    version="1.0",
    file_name=FileName(FILE.file_name),
    sha256=Sha256("0" * 64),
    kept=(),
    had_provenance=False,
)


def test_a_refusal_says_where_the_file_ends_and_what_the_policy_compared() -> None:
    """Exit code, step and reason are the file's: a bundle that does not verify ends it before the policy does."""
    verdict = judged()
    judgement = Judgement((), verdict, 52, "it speaks of another file", "subject")
    told = orjson.loads(orjson.dumps(Refused(HOSTED, judgement, is_new=True).to_document()))
    assert (told["index"], told["project"], told["version"]) == ("root/stable", "widget", "1.0")
    assert (told["file"], told["sha256"], told["new"]) == (FILE.file_name, "0" * 64, True)
    assert (told["exit_code"], told["step"], told["reason"]) == (52, "subject", "it speaks of another file")
    assert (told["verdict"]["exit_code"], told["verdict"]["checks"][0]["name"]) == (62, "predicate")


def test_counts_add_up() -> None:
    """Those refused are the sum of the codes; codes stand in order."""
    told = Counts(files=9, taken=4, unattested=2, vouched=1, newly=3, unreadable=1, refused=Counter({62: 3, 60: 2}))
    assert told.to_document() == {
        "files": 9,
        "taken": 4,
        "taken_without_evidence": 2,
        "taken_by_own_summary": 1,
        "refused": 5,
        "refused_by_code": {"60": 2, "62": 3},
        "newly_refused": 3,
        "unreadable_attestations": 1,
    }
