"""The data folder: ours or not, in use or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.data_folder import DataFolder, Running
from deploy.errors import LaunchError

_RUNNING = Running(pid=1, database="d", queue="q", api="http://127.0.0.1:1", ui="http://127.0.0.1:2")


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    """A folder that is not there yet."""
    return DataFolder(tmp_path / "some" / "data")


def test_a_folder_that_is_not_there_is_made_when_held(folder: DataFolder) -> None:
    """Looking makes nothing; holding makes the folder, passable and not readable for others."""
    folder.check()
    assert not folder.path.exists()
    with folder.held():
        assert folder.path.stat().st_mode & 0o777 == 0o711
        assert folder.is_running()
    assert not folder.is_running()


def test_an_empty_folder_or_one_with_our_settings_alone_becomes_ours(folder: DataFolder) -> None:
    """People may make the folder and put the settings file there first."""
    folder.path.mkdir(parents=True)
    (folder.path / "countermark.toml").write_text("")
    with folder.held():
        pass
    folder.check()


def test_a_foreign_folder_is_refused(folder: DataFolder) -> None:
    """A folder with something else in it is never touched."""
    folder.path.mkdir(parents=True)
    (folder.path / "thesis.txt").write_text("mine")
    with pytest.raises(LaunchError, match="not a Countermark data folder: choose another with DATA="), folder.held():
        pass
    assert [path.name for path in folder.path.iterdir()] == ["thesis.txt"]


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    """A file cannot be the data folder."""
    (tmp_path / "file").write_text("")
    with pytest.raises(LaunchError, match="cannot be used as the data folder: Not a directory"):
        DataFolder(tmp_path / "file").check()


def test_a_folder_in_use_is_refused_with_where(folder: DataFolder) -> None:
    """Of two processes one gets it; the other says where the first one is."""
    with folder.held(), folder.announced(_RUNNING):
        with pytest.raises(LaunchError, match=r"already runs on .* \(http://127.0.0.1:1, process 1\): stop it first"):
            DataFolder(folder.path).check()
        with pytest.raises(LaunchError, match="already runs on"), DataFolder(folder.path).held():
            pass


def test_a_layout_of_another_version_is_refused(folder: DataFolder) -> None:
    """A newer layout is not guessed at."""
    with folder.held():
        pass
    (folder.path / "COUNTERMARK").write_text("Data folder of Countermark, layout 99\n")
    with pytest.raises(LaunchError, match="made by another version"):
        folder.check()


def test_addresses_are_told_while_everything_runs(folder: DataFolder) -> None:
    """Commands find the servers while they run, for the owner's eyes alone, and a clear line before and after."""
    with pytest.raises(LaunchError, match="nothing runs on"):
        folder.running()
    with folder.held():
        with pytest.raises(LaunchError, match="still starting"):
            folder.running()
        with folder.announced(_RUNNING):
            assert folder.running() == _RUNNING
            assert (folder.path / "running.json").stat().st_mode & 0o777 == 0o600
    with pytest.raises(LaunchError, match="nothing runs on"):
        folder.running()


def test_addresses_that_a_killed_run_left_are_not_believed(folder: DataFolder) -> None:
    """The file may stay behind; the lock does not."""
    with folder.held():
        pass
    (folder.path / "running.json").write_text('{"pid": 1}')
    with pytest.raises(LaunchError, match="nothing runs on"):
        folder.running()
    with folder.held(), pytest.raises(LaunchError, match="still starting"):
        folder.running()
