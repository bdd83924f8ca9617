"""The audit of a running deployment, proven by its own command, the client, and the few lines in docs/audit.md."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

from tests.support.archives import make_wheel, wheel_name
from tests.support.clients import VerifyingClient
from tests.support.processes import Deployment, run
from tests.support.uploading import post_file
from tests.support.waiting import until

DOCS = Path(__file__).parents[2] / "docs" / "audit.md"


def test_what_people_did_is_on_record_and_provable(deployment: Deployment, tmp_path: Path) -> None:
    """A token is made; its row, with the address where there is one, is in the export, which server, client and a
    reader of the documentation all find unbroken; altered, none does."""
    token = deployment.token_document("--verbs", "read,upload", "--label", "on-record")
    publish_head(deployment, token["token"])
    out = tmp_path / "audit.jsonl"
    until("the token's row is chained", lambda: token["id"] in exported(deployment, out))
    verified = deployment.command("audit", "verify", "--json")
    assert verified.returncode == 0, verified.stderr
    found = json.loads(verified.stdout)
    assert found["heads"] >= 1
    rows = [json.loads(line) for line in out.read_bytes().splitlines()]
    assert 0 < len(rows) <= found["rows"]
    assert {"deployment.create", "trust.create", "account.create", "token.create"} <= {row["action"] for row in rows}
    assert deployment.command("audit", "export", "--out", "-").stdout.splitlines()[: len(rows)] == (
        out.read_text(encoding="utf-8").splitlines()
    )

    client = VerifyingClient(tmp_path / "home")
    ask = ("audit", "verify", "--repository", f"{deployment.api}/root/stable")
    proven = client(*ask, "--trust-on-first-use", str(out))
    assert proven.returncode == 0, proven.stderr
    assert re.fullmatch(rf"proven: positions 1 to {found['head']['position']}, signed \S+\n", proven.stdout)
    (documented,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    check = tmp_path / "check.py"
    check.write_text(f"import os\nos.chdir({str(tmp_path)!r})\n{documented}", encoding="utf-8")
    assert run(sys.executable, str(check)).returncode == 0

    rows[1]["actor"] = "mallory"
    out.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    refused = client(*ask, str(out))
    assert refused.returncode == 1
    assert "position 2: " in refused.stderr
    assert run(sys.executable, str(check)).returncode != 0


def exported(deployment: Deployment, out: Path) -> str:
    """Export the audit anew and return it."""
    out.unlink(missing_ok=True)
    done = deployment.command("audit", "export", "--out", str(out))
    assert done.returncode == 0, done.stderr
    return out.read_text(encoding="utf-8")


def publish_head(deployment: Deployment, token: str) -> None:
    """Publish until the head is out, which goes with the first batch that follows the first chained rows."""
    head = deployment.tree / "indexes/root/stable/pointers/countermark--audit/head.json"
    for number in range(10):
        if head.exists():
            return
        name = wheel_name("on-record", f"1.{number}")
        answer = post_file(f"{deployment.api}/root/stable/", token, name, make_wheel("on-record", f"1.{number}"))
        assert answer.status_code == 200, answer.text
        time.sleep(2)
    raise AssertionError("no head was published")
