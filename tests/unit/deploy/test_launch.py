"""The command line: exit codes, and one line for each mistake."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from deploy.launch import main

_COMMANDS = {
    *("up", "init", "gateway", "upload", "signing", "index", "download", "worker"),
    *("check-config", "config", "user", "token", "jobs", "rebuild"),
}


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Take back what a command configures for its process: here it is the tests' process."""
    root = logging.getLogger()
    kept = root.handlers, root.level, structlog.get_config()
    yield
    root.handlers, configured = kept[0], kept[2]
    root.setLevel(kept[1])
    structlog.configure(**configured)


def ended(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run a command in this process; returns exit code, standard output and standard error."""
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    output = capsys.readouterr()
    assert isinstance(end.value.code, int)
    return end.value.code, output.out, output.err


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """--help ends with 0 and names all commands."""
    code, out, _ = ended(capsys, "--help")
    assert code == 0
    assert {line.split()[0] for line in out.splitlines() if line.startswith("  ") and line.split()} >= _COMMANDS


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nonsense"], "No such command 'nonsense'."),
        (["up", "--api-prot", "1"], "No such option: --api-prot (Possible options: --api-port, --ui-port)"),
        (["up", "--api-port", "x"], "Invalid value for '--api-port': Input should be a valid integer"),
        (["up", "--api-port", "99999"], "Input should be less than or equal to 65535"),
        (["check-config", "--set", "listen.api_port"], "write it as key=value"),
        (["check-config", "--set", "listen.prot=1"], "unknown setting listen.prot"),
        (["jobs", "retry"], "name one job by its ID, or use --all"),
        (["upload"], "database.url and queue.url must be set for a process of its own"),
        (["worker"], "set COUNTERMARK_DATABASE__URL and COUNTERMARK_QUEUE__URL"),
        (["up", "--compat", "devpi"], "compat (command line): Input should be 'none' or 'devpi-open', not 'devpi'"),
        (["up", "--compat", "devpi-open", "--set", "listen.host=0.0.0.0"], "listen.host must be loopback, not 0.0.0.0"),
        (["user", "passwd", "x", "--password-file", "/does/not/exist"], "the password cannot be read"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    """Mistakes of the caller end with 2, say what is wrong, and print nothing else."""
    code, out, err = ended(capsys, *arguments)
    assert (code, out) == (2, "")
    assert line in err
    assert len(err.splitlines()) == 1
    assert err.startswith("countermark-server: ")


def test_a_fault_is_one_line_and_exit_code_1(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """What cannot be done ends with 1."""
    code, out, err = ended(capsys, "index", "list", "--data", str(tmp_path / "none"))
    assert (code, out) == (1, "")
    assert err.startswith(f"countermark-server: nothing runs on {tmp_path / 'none'}: start it with ")
    assert len(err.splitlines()) == 1


def test_a_catalogue_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A database that does not answer is told without a traceback."""
    url = "database.url=postgresql+asyncpg://u:hunter2@127.0.0.1:1/d"
    code, _, err = ended(capsys, "token", "list", "--set", url)
    assert code == 1
    assert err.startswith("countermark-server: the catalogue cannot be used: ")
    assert len(err.splitlines()) == 1
    assert "hunter2" not in err


def test_settings_are_shown_with_their_origin_and_without_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    """`config show` prints value and origin of each setting; secrets are masked."""
    secret = "database.url=postgresql+asyncpg://u:hunter2@h/d"
    code, out, _ = ended(capsys, "config", "show", "--json", "--set", secret)
    shown = {entry["setting"]: (entry["value"], entry["from"]) for entry in json.loads(out)}
    assert code == 0
    assert shown["database.url"] == ("********", "command line")
    assert shown["listen.api_port"] == ("3141", "default")
    assert "hunter2" not in out


def test_valid_settings_pass_the_check(capsys: pytest.CaptureFixture[str]) -> None:
    """`check-config` ends with 0 when everything can be used."""
    assert ended(capsys, "check-config") == (0, "the settings are valid\n", "")
