"""The count of bins changed by the operator's command beside a running registry."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.support.archives import make_wheel
from tests.support.clients import VerifyingClient
from tests.support.processes import start_deployment


def test_our_client_goes_through_a_change_of_bins(data: Path, tmp_path: Path) -> None:
    """The plan changes nothing; afterwards a warm client, a new one and the next upload work as before."""
    deployment = start_deployment(data)
    try:
        index, token = f"{deployment.api}/root/stable", deployment.token()
        warm, cold = VerifyingClient(tmp_path / "warm"), VerifyingClient(tmp_path / "cold")
        reading = ("--repository", index, "--trust-on-first-use")
        for version in ("1.0", "1.1"):
            wheel = tmp_path / f"binned-{version}-py3-none-any.whl"
            wheel.write_bytes(make_wheel("binned", version))
            done = warm("upload", "--index", index, str(wheel), token=token)
            assert done.returncode == 0, done.stderr
            done = warm("download", *reading, "binned", "--dest", str(tmp_path / f"warm-{version}"))
            assert done.returncode == 0, done.stderr
            if version == "1.0":
                (row,) = json.loads(deployment.command("bins", "6", "--json").stdout)
                assert (row["index"], row["bins"], row["new_bins"]) == ("root/stable", 256, 64)
                (row,) = json.loads(deployment.command("bins", "6", "--json").stdout)
                assert row["bins"] == 256
                told = deployment.command("bins", "6", "--yes")
                # The head of the audit is one more, once it is published.
                assert re.search(r"root/stable: 64 bins, [34] targets moved", told.stdout), told.stderr
                (row,) = json.loads(deployment.command("bins", "6", "--json").stdout)
                assert (row["bins"], row["to_sign"]) == (64, 0)
                done = warm("download", *reading, "binned", "--dest", str(tmp_path / "warm-again"))
                assert done.returncode == 0, done.stderr
        done = cold("download", *reading, "binned", "--dest", str(tmp_path / "cold-out"))
        assert [Path(line).name for line in done.stdout.splitlines()] == ["binned-1.1-py3-none-any.whl"], done.stderr
    finally:
        deployment.process.end()
