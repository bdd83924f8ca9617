"""What the client remembers is written whole or not at all, for its account alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from countermark.core.errors import LocalState
from countermark.records import write_record


def test_a_record_takes_the_place_of_the_earlier_one(tmp_path: Path) -> None:
    """Nobody else may look at the record or into its folder, and nothing is left over beside it."""
    path = tmp_path / "home" / "kept" / "record.json"
    for number in (1, 2):
        assert write_record(path, {"number": number}) == path
        assert json.loads(path.read_text()) == {"number": number}
    assert [file.name for file in path.parent.iterdir()] == ["record.json"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_takes_nothing_is_named(tmp_path: Path) -> None:
    """What stands in the way is said, with what to do."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(LocalState, match=r"cannot write .*record\.json") as raised:
        write_record(tmp_path / "file" / "record.json", {})
    assert "COUNTERMARK_HOME" in raised.value.remedy
