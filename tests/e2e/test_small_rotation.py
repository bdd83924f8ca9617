"""The key of registry in the profile `small`, replaced by one command around a ceremony of those who hold targets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.cycles import Cycles
from tests.e2e.test_production_ceremony import FILES, person
from tests.support.archives import make_wheel
from tests.support.processes import Deployment, server_command, start_deployment
from tests.support.waiting import until

ROLES = ("root", "targets", "trust")
SETTINGS = ("--set", "signing.profile=small", "--set", "signing.bin_bits=5")


class Team:
    """Two key holders of three, an administrator, and the root that they agreed on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.holders = {name: person(folder, name, f"{name} keeps a secret") for name in ("ada", "bob", "carol")}
        self.admin = person(folder, "admin", "")
        self.root: Path | None = None

    def bootstrap_options(self) -> list[str]:
        """Let everybody make keys; returns the options of `trust bootstrap`."""
        files = [one.make_keys(FILES, name, ROLES) for name, one in self.holders.items()]
        return [text for made in files for role, file in made.items() for text in ("--holder", f"{role}={file}")]

    def connect(self, deployment: Deployment) -> str:
        """Tell everybody where the registry is; returns the URL of its index."""
        index = f"{deployment.api}/root/stable"
        told = {
            "COUNTERMARK_TOKEN": deployment.token("--verbs", "read,upload,configure"),
            "COUNTERMARK_REPOSITORY": index,
        }
        for one in (*self.holders.values(), self.admin):
            one.environment.update(told)
        return index

    def sign(self, event: str, role: str) -> None:
        """Let two look at an event and sign it, and the administrator finalise it."""
        trusted = () if self.root is None else ("--root", str(self.root))
        ada, bob = self.holders["ada"], self.holders["bob"]
        (seen,) = [one for one in ada.json("ceremony", "show", event, *trusted) if "payload_sha256" in one]
        agreed = ("--yes", "--sha256", str(seen["payload_sha256"]), *trusted)
        for number, holder in enumerate((ada, bob)):
            key = ("--key", holder.key(FILES, role, 0), "--submit", "-o", str(self.folder / f"{event}.{number}.json"))
            holder("ceremony", "sign", event, *key, *agreed)
        if self.root is None:
            self.root = self.folder / "first.root.json"
            self.admin("ceremony", "status", event, "-o", str(self.root))
        self.admin("ceremony", "finalise", event)

    def open_events(self) -> dict[str, str]:
        """Return the open events, role -> id."""
        return {str(one["role"]): str(one["id"]) for one in self.admin.json("ceremony", "status") if "id" in one}


def registry_keys(deployment: Deployment) -> list[str]:
    """Return the ids of the keys of registry that the server signs with."""
    rows = json.loads(deployment.command("keys", "list", "--json", *SETTINGS).stdout)
    return [row["keyid"] for row in rows if row["role"] == "registry"]


@pytest.mark.timeout(900)
def test_the_registrys_key(data: Path, tmp_path: Path) -> None:
    """It stops once registry is signed with both keys and the event of targets is open; run again it ends the old key.
    No client notices, and the next count of bins is signed with the new key alone."""
    team = Team(tmp_path)
    data.mkdir(exist_ok=True)
    begun = server_command("trust", "bootstrap", *team.bootstrap_options(), "--data", str(data), *SETTINGS)
    assert begun.returncode == 0, begun.stderr
    deployment = start_deployment(data, *SETTINGS, last_line="0 of 2 signatures of trust")
    try:
        index = team.connect(deployment)
        events = team.open_events()
        for role in ROLES:
            team.sign(events[role], role)
        wheel = tmp_path / "proved-1.0-py3-none-any.whl"
        wheel.write_bytes(make_wheel("proved", "1.0"))
        team.admin("upload", "--index", index, str(wheel))
        client = person(tmp_path, "client", "", {"COUNTERMARK_REPOSITORY": index})
        client("root", "pin", index, str(team.root))
        until(
            "the upload", lambda: client("download", "proved", "--dest", str(tmp_path / "a"), ok=False).returncode == 0
        )
        (old,) = registry_keys(deployment)

        clients = Cycles(f"{index}/+tuf", "pointers/proved/_simple.json")
        clients.start()
        try:
            rotate = ("keys", "rotate", "registry", "--grace", "1", *SETTINGS)
            stopped = deployment.command(*rotate)
            assert stopped.returncode == 1, stopped.stdout
            assert "of targets waits for its key holders" in stopped.stderr
            team.sign(team.open_events()["targets"], "targets")
            done = deployment.command(*rotate)
            assert done.returncode == 0, done.stderr
            assert done.stdout.rstrip().endswith("its private half can be destroyed")
            moved = deployment.command("bins", "6", "--yes", *SETTINGS)
            assert moved.returncode == 0, moved.stderr
        finally:
            clients.end()
        assert clients.failures == []
        (new,) = registry_keys(deployment)
        assert new != old
        client("download", "proved", "--dest", str(tmp_path / "b"))
        assert deployment.command("index", "check", *SETTINGS).returncode == 0
    finally:
        deployment.process.end()
