"""Making the environment: what is said of machines on which it cannot be made."""

from __future__ import annotations

import pytest

from deploy.environment import machine_fault, without_uv

_GLIBC = ("glibc", "2.36")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_linux_with_a_recent_c_library_is_fine(machine: str) -> None:
    """The usual servers are supported."""
    assert machine_fault("Linux", machine, _GLIBC, has_venv=True) is None


@pytest.mark.parametrize("machine", ["x86_64", "arm64"])
def test_macos_is_fine(machine: str) -> None:
    """So are both kinds of Macs, which have no glibc."""
    assert machine_fault("Darwin", machine, ("", ""), has_venv=True) is None


@pytest.mark.parametrize(
    ("system", "machine", "libc", "words"),
    [
        ("Linux", "riscv64", _GLIBC, "there is no embedded Postgres for Linux on riscv64"),
        ("Windows", "AMD64", ("", ""), "there is no embedded Postgres for Windows on AMD64"),
        ("Linux", "x86_64", ("", ""), "there is no embedded Postgres for the C library musl"),
        ("Linux", "x86_64", ("glibc", "2.17"), "there is no embedded Postgres for the C library glibc 2.17"),
    ],
)
def test_other_machines_are_one_line_that_says_what_is_supported(
    system: str, machine: str, libc: tuple[str, str], words: str
) -> None:
    """Nothing is installed where the wheels do not run."""
    fault = machine_fault(system, machine, libc, has_venv=True)
    assert fault is not None
    assert words in fault
    assert "supported are Linux" in fault
    assert "\n" not in fault


def test_a_python_without_venv_names_the_package() -> None:
    """Debian splits the module off; the line says which package has it."""
    assert "install the package python3-venv" in str(machine_fault("Linux", "x86_64", _GLIBC, has_venv=False))


def test_uv_can_be_left_out_of_a_lock() -> None:
    """Where uv has no wheel, the other tools are installed without it, hashes and all."""
    first = "editables==0.5 \\\n    --hash=sha256:aa\n"
    uv = "uv==1 \\\n    --hash=sha256:bb \\\n    --hash=sha256:cc\n"
    last = "zz==1 \\\n    --hash=sha256:dd\n"
    assert without_uv(first + uv + last) == first + last
