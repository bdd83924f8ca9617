"""What searches for garbage pass over."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from shared.lasting import load, settle


def test_what_is_loaded_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module's objects are among those that are looked at never again; garbage is looked for, less often than Python
    does of itself, also after a module that cannot be imported."""
    (tmp_path / "lasting_example.py").write_text("MANY = [[number] for number in range(1000)]\n", encoding="utf-8")
    (tmp_path / "lasting_broken.py").write_text("raise ImportError('broken')\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    thresholds = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    try:
        before = gc.get_freeze_count()
        many = load("lasting_example").MANY
        assert gc.get_freeze_count() >= before + 1000
        assert not any(found is many for found in gc.get_objects())
        with pytest.raises(ImportError, match="broken"):
            load("lasting_broken")
        assert gc.isenabled()
        assert gc.get_threshold()[0] >= 10_000
        more = [[number] for number in range(10)]
        settle()
        assert not any(found is more for found in gc.get_objects())
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)
