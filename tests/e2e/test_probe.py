"""`countermark probe` against a running registry, with the clock of this machine and with others."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.support.processes import Deployment, program, run


@pytest.fixture
def faketime() -> str:
    """The program that runs another one with another clock (Debian: faketime)."""
    found = shutil.which("faketime")
    if found is None:
        assert not os.environ.get("CI"), "faketime is not installed"
        pytest.skip("faketime is not installed")
    return found


def lines(done: CompletedProcess[str]) -> list[Any]:
    """Return the objects of the output stream."""
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_fresh_index_is_well_for_half_a_day(deployment: Deployment, tmp_path: Path) -> None:
    """Each of its roles and bins is read, cold and warm; a day and an hour ahead the timestamp alone has expired."""
    probe = (program("countermark"), "probe", f"{deployment.api}/root/stable", "--json")
    home = {"COUNTERMARK_HOME": str(tmp_path)}
    done = run(*probe, "--trust-on-first-use", environment=home)
    assert done.returncode == 0, done.stderr
    *told, last = lines(done)
    assert last["exit"] == 0
    roles = ["root", "timestamp", "snapshot", "targets", "trust", "registry", "bins"]
    assert [line["role"] for line in told] == roles * 2
    assert told[6]["bins"] in {256, 1024}
    done = run(*probe, "--ahead", "25h", environment=home)
    assert done.returncode == 1
    assert {line["role"] for line in lines(done)[:-1] if not line["ok"]} == {"timestamp"}


def test_the_clock_decides(deployment: Deployment, tmp_path: Path, faketime: str) -> None:
    """Where it is 14 hours later, half a day ahead is too far, though the refresh goes through; 25 hours later that
    fails as well."""
    home = {"COUNTERMARK_HOME": str(tmp_path)}
    probe = (program("countermark"), "probe", f"{deployment.api}/root/stable", "--trust-on-first-use", "--json")
    done = run(faketime, "-f", "+14h", *probe, environment=home)
    assert done.returncode == 1, done.stderr
    assert {line["step"] for line in lines(done)[:-1]} == {"cold", "warm"}
    assert "timestamp" in lines(done)[-1]["message"]
    assert run(faketime, "-f", "+14h", *probe, "--ahead", "8h", environment=home).returncode == 0
    done = run(faketime, "-f", "+25h", *probe, environment=home)
    assert (done.returncode, len(lines(done))) == (1, 1), done.stderr
    assert lines(done)[0]["error"] == "Expired"
