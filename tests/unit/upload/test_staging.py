"""The sweep of the staging folder."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from services.upload.staging import StagingSweep
from tests.support.clock import SettableClock

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def _left(path: Path, hours: float) -> Path:
    path.write_bytes(b"x")
    moment = (NOW - timedelta(hours=hours)).timestamp()
    os.utime(path, (moment, moment))
    return path


def test_only_what_uploads_left_long_ago_is_removed(tmp_path: Path) -> None:
    """Young files are uploads under way; other names, folders and links were not made by uploads."""
    folder = tmp_path / "staging"
    folder.mkdir()
    old, young, other = _left(folder / "a.upload", 25), _left(folder / "b.upload", 23), _left(folder / "notes", 99)
    outside = _left(tmp_path / "outside", 99)
    (folder / "c.upload").symlink_to(outside)
    (folder / "d.upload").mkdir()
    sweep = StagingSweep(folder, timedelta(hours=24), SettableClock(NOW))
    assert sweep.sweep() == 1
    assert not old.exists()
    assert all(path.exists() for path in (young, other, outside, folder / "c.upload", folder / "d.upload"))
    assert sweep.sweep() == 0


def test_a_folder_that_is_not_there_yet_is_fine(tmp_path: Path) -> None:
    """Before the first upload there is nothing to sweep."""
    assert StagingSweep(tmp_path / "none", timedelta(hours=1), SettableClock(NOW)).sweep() == 0
