"""Who a token is made for is read strictly: what binds nobody is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploy.errors import UsageError
from deploy.publishers import read_publisher
from tests.support.sigstore.tokens import GITHUB, github

CLAIMS = github() | {"iss": GITHUB}


def test_a_run_of_a_workflow_is_read(tmp_path: Path) -> None:
    """Kind, claims and environment, as the file has them."""
    path = tmp_path / "publisher.json"
    for document in (
        {"kind": "GitHub", "claims": CLAIMS},
        {"kind": "GitHub", "claims": CLAIMS, "environment": "release"},
    ):
        path.write_text(json.dumps(document))
        assert read_publisher(path) == document


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "no JSON"),
        ("[]", "must be an object"),
        (" " * (64 << 10) + "{}", "must be an object"),
        ('{"kind": "GitHub"}', "must be an object"),
        ('{"kind": "GitHub", "claims": {}, "more": 1}', "must be an object"),
        ('{"kind": "Jenkins", "claims": {"iss": "x"}}', "no kind"),
        ('{"kind": "GitHub", "claims": {}}', "iss"),
        ('{"kind": "GitHub", "claims": []}', "iss"),
        ('{"kind": "GitHub", "claims": {"iss": "x"}, "environment": 1}', "environment"),
    ],
)
def test_what_names_nobody_is_told(tmp_path: Path, content: str, words: str) -> None:
    """Each with what to write instead."""
    path = tmp_path / "publisher.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=words):
        read_publisher(path)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """With its path."""
    with pytest.raises(UsageError, match="cannot be read"):
        read_publisher(tmp_path / "none.json")
