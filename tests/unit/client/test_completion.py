"""Completion of the command line in bash, zsh and fish: the scripts, where they are installed, and what they offer."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).with_name("countermark")
INSTALLED = {
    "bash": ".bash_completions/countermark.sh",
    "zsh": ".zfunc/_countermark",
    "fish": ".config/fish/completions/countermark.fish",
}
"""Shell -> where its script goes, below the home folder."""


def _in_shell(shell: str, home: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Run a command from a process that looks like `shell`: completion is made for the shell that asks."""
    real = shutil.which("bash")
    assert real is not None
    named = home / shell
    if not named.exists():
        named.symlink_to(real)
    # With a second command the shell stays the parent of the first.
    return subprocess.run(
        [str(named), "-c", f"{command}; exit $?"],
        env={"HOME": str(home), "PATH": f"{PROGRAM.parent}:{os.defpath}", "COUNTERMARK_HOME": str(home / "client")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("shell", INSTALLED)
def test_the_script_is_shown_and_installed(shell: str, tmp_path: Path) -> None:
    """`--show-completion` prints the script of the shell that asks, `--install-completion` writes the same."""
    shown = _in_shell(shell, tmp_path, "countermark --show-completion")
    assert shown.returncode == 0, shown.stderr
    assert f"complete_{shell}" in shown.stdout
    installed = _in_shell(shell, tmp_path, "countermark --install-completion")
    assert installed.returncode == 0, installed.stderr
    assert (tmp_path / INSTALLED[shell]).read_text().strip() == shown.stdout.strip()


@pytest.mark.parametrize(
    ("shell", "variables"),
    [
        ("bash", {"COMP_WORDS": "countermark un", "COMP_CWORD": "1"}),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "countermark un"}),
        ("fish", {"_TYPER_COMPLETE_ARGS": "countermark un", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}),
    ],
)
def test_commands_are_offered(shell: str, variables: dict[str, str], tmp_path: Path) -> None:
    """What the script asks is answered with the commands that begin so."""
    asked = {"_COUNTERMARK_COMPLETE": f"complete_{shell}", **variables}
    done = subprocess.run(
        [str(PROGRAM)], env={"HOME": str(tmp_path), **asked}, capture_output=True, text=True, check=False, timeout=60
    )
    assert "unyank" in done.stdout, done.stderr
    assert "download" not in done.stdout


def test_bash_completes_with_the_script(tmp_path: Path) -> None:
    """A real bash that loads the script completes an option."""
    script = (
        'eval "$(countermark --show-completion)"; COMP_WORDS=(countermark download --trust); COMP_CWORD=2; '
        '_countermark_completion countermark; echo "${COMPREPLY[@]}"'
    )
    done = _in_shell("bash", tmp_path, script)
    assert done.stdout.strip() == "--trust-on-first-use", done.stderr
