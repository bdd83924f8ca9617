"""A whole production ceremony with the real programs: three holders sign, one on a token, one without a network.

Afterwards an online key is replaced by a ceremony while clients are at work; one that pinned the first root goes
through all of it.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.cycles import Cycles
from tests.support.archives import make_wheel
from tests.support.processes import Deployment, program, run, server_command, start_deployment
from tests.support.softhsm import MadeToken, TokenShelf, softhsm_or_skip
from tests.support.waiting import until

ROLES = ("root", "targets", "trust", "registry")
SETTINGS = ("--set", "signing.profile=production", "--set", "signing.bin_bits=5")


@dataclass(frozen=True, slots=True)
class Person:
    """A key holder, or who carries files: a home of its own, and what opens its keys."""

    home: Path
    secret: Path
    environment: dict[str, str]

    def __call__(self, *arguments: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `countermark`."""
        environment = {"COUNTERMARK_HOME": str(self.home), "COUNTERMARK_KEY_SECRET_FILE": str(self.secret)}
        done = run(program("countermark"), *arguments, environment=environment | self.environment)
        assert not ok or done.returncode == 0, f"{arguments}: {done.stderr}{done.stdout}"
        return done

    def json(self, *arguments: str) -> list[dict[str, object]]:
        """Run it with `--json` and return what it prints."""
        return [json.loads(line) for line in self(*arguments, "--json").stdout.splitlines()]

    def make_keys(self, kind: str, name: str, roles: tuple[str, ...] = ROLES) -> dict[str, Path]:
        """Make a key for each role, and return the public key files."""
        made = {}
        for number, role in enumerate(roles, start=1):
            made[role] = self.home / f"{role}.pub.json"
            self("key", "new", self.key(kind, role, number), "--holder", name, "-o", str(made[role]))
        return made

    def key(self, kind: str, role: str, number: int) -> str:
        """Return the URI of a key: in an encrypted file, or on a token."""
        return kind.format(role=role, number=number, home=self.home)


def person(folder: Path, name: str, secret: str, environment: dict[str, str] | None = None) -> Person:
    """Give somebody a home and a secret of 12 characters or more."""
    home = folder / name
    home.mkdir(mode=0o700)
    (home / "secret").write_text(secret)
    return Person(home, home / "secret", environment or {})


FILES = "pkcs8:{home}/{role}.pem"


class Ceremony:
    """The people, and the deployment once it runs."""

    def __init__(self, folder: Path, token: MadeToken) -> None:
        self.folder = folder
        self.ada = person(folder, "ada", "correct horse battery")
        self.bob = person(folder, "bob", token.pin, token.shelf.environment)
        # Carol's machine has no address of the registry and no account: only files reach it.
        self.carol = person(folder, "carol", "staple in the attic")
        self.admin = person(folder, "admin", "")
        self.bobs = f"hsm:{{number}}?label={token.label}"
        self.root: Path | None = None

    def connect(self, deployment: Deployment) -> str:
        """Tell those who have a network where the registry is; returns the URL of its index."""
        index = f"{deployment.api}/root/stable"
        token = deployment.token("--verbs", "read,upload,configure")
        for one in (self.admin, self.ada, self.bob):
            one.environment.update({"COUNTERMARK_TOKEN": token, "COUNTERMARK_REPOSITORY": index})
        return index

    def holders(self) -> list[str]:
        """Let everybody make keys; returns the options of `trust bootstrap`."""
        files = [
            self.ada.make_keys(FILES, "Ada"),
            self.bob.make_keys(self.bobs, "Bob"),
            self.carol.make_keys(FILES, "Carol"),
            *(person(self.folder, name, f"{name} keeps a secret").make_keys(FILES, name, ("root",)) for name in "de"),
        ]
        return [text for made in files for role, file in made.items() for text in ("--holder", f"{role}={file}")]

    def sign_all(self, event: str, role: str) -> None:
        """Let the three look at an event and sign it: with a file's key, with a token, from files alone."""
        number = ROLES.index(role) + 1
        trusted = () if self.root is None else ("--root", str(self.root))
        (seen,) = [one for one in self.ada.json("ceremony", "show", event, *trusted) if "payload_sha256" in one]
        agreed = ("--yes", "--sha256", str(seen["payload_sha256"]), *trusted)
        signed = self.folder / f"{event}.signature.json"
        self.ada(
            "ceremony", "sign", event, "--key", self.ada.key(FILES, role, number), "--submit", *agreed, "-o",
            str(self.folder / f"{event}.ada.json"),
        )  # fmt: skip
        if role == "root":
            self.bob(
                "ceremony", "sign", event, "--key", self.bob.key(self.bobs, role, number), "--submit", *agreed, "-o",
                str(self.folder / f"{event}.bob.json"),
            )  # fmt: skip
        short = self.admin("ceremony", "finalise", event, ok=False)
        assert short.returncode == 1, "nobody finalises what lacks a signature"
        carried = self.folder / f"{event}.event.json"
        self.admin("ceremony", "show", event, "-o", str(carried), *trusted)
        self.carol(
            "ceremony", "sign", str(carried), "--key", self.carol.key(FILES, role, number), *agreed, "-o", str(signed)
        )
        self.admin("ceremony", "submit", str(signed))
        self.admin("ceremony", "finalise", event)

    def open_events(self) -> dict[str, str]:
        """Return the open events, role -> id."""
        return {str(one["role"]): str(one["id"]) for one in self.admin.json("ceremony", "status") if "id" in one}


@pytest.fixture
def token(tmp_path: Path) -> MadeToken:
    """Bob's token."""
    softhsm_or_skip()
    shelf = TokenShelf(tmp_path / "tokens")
    shelf.lay()
    return shelf.new_token()


@pytest.mark.timeout(400)
def test_three_holders_from_the_first_root_to_a_new_online_key(data: Path, tmp_path: Path, token: MadeToken) -> None:
    """Nothing is published before the last signature; then stock clients and ours verify, whatever is replaced."""
    ceremony = Ceremony(tmp_path, token)
    data.mkdir(exist_ok=True)
    options = ("--data", str(data), *SETTINGS)
    refused = server_command("init", *options)
    assert refused.returncode == 1
    assert "trust bootstrap" in refused.stderr
    begun = server_command("trust", "bootstrap", *ceremony.holders(), *options)
    assert begun.returncode == 0, begun.stderr
    deployment = start_deployment(data, *SETTINGS, last_line="0 of 2 signatures of registry")
    try:
        index = ceremony.connect(deployment)
        wheel = tmp_path / "proved-1.0-py3-none-any.whl"
        wheel.write_bytes(make_wheel("proved", "1.0"))
        uploaded = ceremony.admin("upload", "--index", index, str(wheel), ok=False)
        assert deployment.get("/root/stable/+tuf/metadata/timestamp.json").status_code == 404, uploaded.stderr
        events = ceremony.open_events()
        for role in ROLES:
            ceremony.sign_all(events[role], role)
            if role == "root":
                ceremony.root = tmp_path / "first.root.json"
                ceremony.root.write_bytes(_root_of(ceremony, events[role]))
        until("a publication", lambda: deployment.get("/root/stable/+tuf/metadata/timestamp.json").status_code == 200)
        client = person(tmp_path, "client", "", {"COUNTERMARK_REPOSITORY": index})
        client("root", "pin", index, str(ceremony.root))
        out = str(tmp_path / "out")
        until("the upload", lambda: client("download", "proved", "--dest", out, ok=False).returncode == 0)

        clients = Cycles(f"{index}/+tuf", "pointers/proved/_simple.json")
        clients.start()
        try:
            rotate = ("keys", "rotate", "timestamp", "--grace", "1", *SETTINGS)
            stopped = deployment.command(*rotate)
            assert stopped.returncode == 1
            assert "waits for its key holders" in stopped.stderr
            ceremony.sign_all(ceremony.open_events()["root"], "root")
            done = deployment.command(*rotate)
            assert done.returncode == 0, done.stderr
        finally:
            clients.end()
        assert clients.failures == []
        client("download", "proved", "--dest", str(tmp_path / "out-again"))
        checked = deployment.command("index", "check", *SETTINGS)
        assert checked.returncode == 0, checked.stdout
        assert deployment.command("audit", "verify", *SETTINGS).returncode == 0
    finally:
        deployment.process.end()


def _root_of(ceremony: Ceremony, event: str) -> bytes:
    """Return the first root as the holders put it together from their signatures."""
    file = ceremony.folder / "put-together.root.json"
    ceremony.ada("ceremony", "status", event, "-o", str(file))
    return file.read_bytes()
