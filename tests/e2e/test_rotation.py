"""Online keys replaced by the operator's command beside a running registry, with clients at work and uploads in
between."""

from __future__ import annotations

import json
from pathlib import Path

from bench.cycles import Cycles
from tests.support.archives import make_wheel
from tests.support.clients import VerifyingClient
from tests.support.processes import start_deployment

ROLES = ("timestamp", "snapshot", "bins", "registry")


def test_no_client_notices_new_keys(data: Path, tmp_path: Path) -> None:
    """Not one cycle of stock clients fails, old or new; our client with a cache and a new one read what comes after."""
    deployment = start_deployment(data)
    try:
        index, token = f"{deployment.api}/root/stable", deployment.token()
        warm, cold = VerifyingClient(tmp_path / "warm"), VerifyingClient(tmp_path / "cold")
        reading = ("--repository", index, "--trust-on-first-use")

        def uploaded(version: str) -> None:
            wheel = tmp_path / f"turned-{version}-py3-none-any.whl"
            wheel.write_bytes(make_wheel("turned", version))
            done = warm("upload", "--index", index, str(wheel), token=token)
            assert done.returncode == 0, done.stderr

        uploaded("1.0")
        before = {row["role"]: row["keyid"] for row in json.loads(deployment.command("keys", "list", "--json").stdout)}
        clients = Cycles(f"{index}/+tuf", "pointers/turned/_simple.json")
        clients.start()
        try:
            for number, role in enumerate(ROLES):
                told = deployment.command("keys", "rotate", role, "--grace", "1")
                assert told.returncode == 0, told.stderr
                assert told.stdout.rstrip().endswith("its private half can be destroyed")
                uploaded(f"1.{number + 1}")
                done = warm("download", *reading, "turned", "--dest", str(tmp_path / f"warm-{role}"))
                assert done.returncode == 0, done.stderr
        finally:
            clients.end()
        assert clients.failures == []
        assert clients.done >= 20
        done = cold("download", *reading, "turned", "--dest", str(tmp_path / "cold-out"))
        assert [Path(line).name for line in done.stdout.splitlines()] == ["turned-1.4-py3-none-any.whl"], done.stderr
        after = {row["role"]: row["keyid"] for row in json.loads(deployment.command("keys", "list", "--json").stdout)}
        assert {role for role in after if after[role] != before[role]} == set(ROLES)
        refused = deployment.command("keys", "rotate", "root")
        assert refused.returncode == 2
        assert "ceremony" in refused.stderr
    finally:
        deployment.process.end()
