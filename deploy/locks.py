"""Checks the lock files without a network: they hold no addresses, and pin what the two `pyproject.toml` ask for.

`make lock` compiles them again. Source: infrastructure facts, "Pinning and environments".
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

_OURS = frozenset({canonicalize_name("countermark"), canonicalize_name("countermark-server")})


def faults_of(root: Path) -> Iterator[str]:
    """Yield one line for each thing that is wrong with the lock files in `root`."""
    server = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    client = tomllib.loads((root / "client" / "pyproject.toml").read_text(encoding="utf-8"))
    groups = server["dependency-groups"]
    asked = {
        "requirements.lock": [*server["project"]["dependencies"], *client["project"]["dependencies"]],
        "requirements-setup.lock": groups["setup"],
        "requirements-assets.lock": groups["assets"],
        "requirements-dev.lock": groups["dev"],
        "requirements-bench.lock": _listed((root / "bench" / "requirements.in").read_text(encoding="utf-8")),
        "requirements-e2e.lock": _listed((root / "tests" / "e2e" / "requirements.in").read_text(encoding="utf-8")),
        "requirements-devpi.lock": _listed((root / "tests" / "e2e" / "devpi-server.in").read_text(encoding="utf-8")),
    }
    for name, requirements in asked.items():
        text = (root / name).read_text(encoding="utf-8")
        yield from (f"{name}: line {number} holds an address" for number in _addresses(text))
        pins = pinned(text)
        yield from (f"{name}: {pin} has no hash" for pin in unhashed(text))
        yield from (f"{name}: {fault}; run make lock" for fault in missing(requirements, pins))


def _listed(requirements: str) -> list[str]:
    """Return the requirements of a requirements file without its comments."""
    return [line for line in requirements.splitlines() if line and not line.startswith("#")]


def pinned(lock: str) -> dict[NormalizedName, list[Version]]:
    """Return what a lock file pins: name -> versions, several where they depend on the platform."""
    pins: dict[NormalizedName, list[Version]] = {}
    for entry in _entries(lock):
        requirement = Requirement(entry.split(" --hash=")[0])
        (pin,) = requirement.specifier
        pins.setdefault(canonicalize_name(requirement.name), []).append(Version(pin.version))
    return pins


def unhashed(lock: str) -> list[str]:
    """Return the entries of a lock file that name no hash."""
    return [entry for entry in _entries(lock) if " --hash=sha256:" not in entry]


def missing(requirements: Sequence[str], pins: dict[NormalizedName, list[Version]]) -> Iterator[str]:
    """Yield what is asked for and not pinned, or pinned to a version that was not asked for."""
    for text in requirements:
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        if name in _OURS:
            continue
        if name not in pins:
            yield f"{name} is not pinned"
        yield from (
            f"{name} is pinned to {version}, which {text!r} excludes"
            for version in pins.get(name, ())
            if not requirement.specifier.contains(version, prereleases=True)
        )


def _entries(lock: str) -> list[str]:
    joined = lock.replace("\\\n", " ")
    return [" ".join(line.split()) for line in joined.splitlines() if line.strip() and not line.startswith("#")]


def _addresses(lock: str) -> list[int]:
    return [number for number, line in enumerate(lock.splitlines(), 1) if "://" in line]


def main() -> None:
    """Print the faults of this checkout's lock files; ends with 1 when there are any."""
    faults = list(faults_of(Path(__file__).resolve().parent.parent))
    sys.stderr.write("".join(f"{fault}\n" for fault in faults))
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
