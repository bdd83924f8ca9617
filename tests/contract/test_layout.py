"""The shape of the tree: what the style promises and no other tool checks."""

from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVER = ("deploy", "gateway", "services", "shared")
MODULES = sorted(
    path
    for top in (*SERVER, "client/src", "bench", "tests")
    for path in (ROOT / top).rglob("*.py")
    if "versions" not in path.parts
)


@pytest.mark.parametrize("package", SERVER)
def test_no_other_distribution_provides_our_folders(package: str) -> None:
    """The server's packages have plain names: nothing else that is installed may answer to them."""
    assert set(packages_distributions().get(package, [])) <= {"countermark-server"}


@pytest.mark.parametrize("service", ["upload", "signing", "index", "download"])
def test_every_service_has_the_same_files(service: str) -> None:
    """A reader knows where to look: wiring, use cases and pure rules have the same names everywhere, the latter
    two in a package of their subject where a service has several."""
    folder = ROOT / "services" / service
    assert (folder / "app.py").is_file()
    assert {"usecases.py", "rules.py"} <= {path.name for path in folder.rglob("*.py")}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_stay_readable(path: Path) -> None:
    """No module is longer than 400 lines, tests and what they stand on among them."""
    assert len(path.read_text().splitlines()) <= 400


def test_lock_files_hold_no_addresses() -> None:
    """Locks pin by version and hash; where packages come from is for each machine to say."""
    locks = list(ROOT.glob("requirements*.lock"))
    assert len(locks) >= 3
    for lock in locks:
        assert "://" not in lock.read_text()
        assert "--hash=sha256:" in lock.read_text()
