"""Progress: drawn on a terminal, and nowhere else."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from countermark.cli.screen import Screen
from countermark.core.errors import UsageFault
from countermark.progress import Silent


def _on_terminal(tree: Path, tmp_path: Path, *options: str) -> str:
    """Download with the error stream on a terminal; return what the terminal got."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "countermark", "download", "widget", "--trust-on-first-use", *options]
    done = subprocess.run(
        [*command, "--repository", str(tree), "--dest", str(tmp_path / "dest")],
        env={"COUNTERMARK_HOME": str(tmp_path / "home"), "PATH": "", "TERM": "xterm", "COLUMNS": "120"},
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0
    os.close(theirs)
    seen = b""
    while True:
        try:
            data = os.read(ours, 4096)
        except OSError:
            break
        if not data:
            break
        seen += data
    os.close(ours)
    return seen.decode()


@pytest.mark.parametrize(("options", "drawn"), [((), True), (("--quiet",), False), (("--json",), False)])
def test_bars_are_drawn_for_people_only(options: tuple[str, ...], drawn: bool, tree: Path, tmp_path: Path) -> None:
    """A terminal shows bars, unless --quiet or --json asks for none."""
    seen = _on_terminal(tree, tmp_path, *options)
    # The bars hide the cursor while they are drawn.
    assert ("\x1b[?25l" in seen) is drawn
    assert "trusting root" in seen


def test_no_terminal_no_bars() -> None:
    """A stream that is no terminal gets none."""
    with Screen().meter() as meter:
        assert isinstance(meter, Silent)


def test_a_result_is_one_line_whatever_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    """Line ends, terminal codes, directions and blank letters of a server reach no stream, and no word is redrawn."""
    said = "a\nb\r\x1b[2J\u202e\u2028\u2800\u3164c :warning:"
    screen = Screen()
    screen.result(said)
    screen.row(said, "d")
    screen.notify(said)
    screen.tell(said)
    screen.failure(UsageFault(said))
    shown = capsys.readouterr()
    plain = "a b??[2J????c :warning:"
    assert shown.out == f"{plain}\n{plain}\td\n"
    assert shown.err == f"note: {plain}\n{plain}\nusage: {plain}. [exit 2]\n"


def test_a_stream_that_lacks_a_letter_gets_a_question_mark() -> None:
    """A pipe in an old encoding ends no command half way."""
    with io.TextIOWrapper(io.BytesIO(), encoding="cp1252") as stream, contextlib.redirect_stdout(stream):
        Screen().result("ｗ ä …")
        Screen().row("ｗ", "ä")
        stream.flush()
        assert stream.buffer.getvalue().decode("cp1252") == "? ä …\n?\tä\n"
