"""What the real profile lets itself be told."""

from __future__ import annotations

import pytest

from deploy.stack.__main__ import main


@pytest.mark.parametrize(
    "pair", ["data=x", "database.pool=3", "queue.url=x", "objects.kind=folder", "listen.host=x", "upstreams.index=x"]
)
def test_what_leads_from_part_to_part_cannot_be_set(pair: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder in place of the S3 server would be another profile under this one's name: one line refuses it."""
    assert main(["--set", pair]) == 2
    key = pair.partition("=")[0]
    assert capsys.readouterr().err == f"countermark: --set {key}: the stack decides that itself\n"
