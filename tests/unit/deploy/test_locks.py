"""Lock files: no addresses, hashes everywhere, and pins that are what was asked for."""

from __future__ import annotations

from pathlib import Path

from packaging.version import Version

from deploy.environment import ASSETS
from deploy.locks import faults_of, missing, pinned, unhashed

_LOCK = """\
alpha==1.2 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
beta-gamma==3 ; sys_platform == 'win32' \\
    --hash=sha256:cc
beta-gamma==4 ; sys_platform != 'win32' \\
    --hash=sha256:dd
"""


def test_this_checkouts_locks_have_no_fault() -> None:
    """The lock files in the tree pin what the two `pyproject.toml` ask for."""
    assert list(faults_of(Path(__file__).parents[3])) == []


def test_pins_are_read_with_their_markers() -> None:
    """A name may be pinned twice, for different platforms."""
    assert pinned(_LOCK) == {"alpha": [Version("1.2")], "beta-gamma": [Version("3"), Version("4")]}
    assert unhashed(_LOCK) == []


def test_what_is_missing_or_excluded_is_told() -> None:
    """A requirement without a pin, and a pin outside its requirement, are faults; ours are not looked for."""
    asked = ["alpha>=1.3", "Beta_Gamma>=3", "delta", "countermark==0.1.0"]
    assert list(missing(asked, pinned(_LOCK))) == [
        "alpha is pinned to 1.2, which 'alpha>=1.3' excludes",
        "delta is not pinned",
    ]


def test_an_entry_without_a_hash_is_told() -> None:
    """Everything that is installed is known by its digest."""
    assert unhashed("alpha==1.2\n" + _LOCK) == ["alpha==1.2"]


def test_packages_of_files_for_browsers_bring_nothing_along() -> None:
    """What is installed for a file alone comes without its dependencies, and nothing else asks for it."""
    root = Path(__file__).parents[3]
    assets = pinned((root / ASSETS).read_text(encoding="utf-8"))
    others = {
        name for lock in root.glob("requirements*.lock") if lock.name != ASSETS for name in pinned(lock.read_text())
    }
    assert set(assets) == {"django-htmx"}
    assert not others & {*assets, "django", "asgiref"}
