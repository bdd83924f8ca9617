"""The ceremonies of a deployment of profile `production`, by the real programs: server, key holders, a stock client.

One holder of root has the key on a token (SoftHSM), one machine has no network.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from securesystemslib.signer import CryptoSigner
from tuf.ngclient import Updater

from countermark.core.ceremony.documents import PublicKeyFile, to_bytes
from tests.support.archives import make_wheel
from tests.support.processes import Deployment, Process, program, run, server_command
from tests.support.softhsm import MadeToken, TokenShelf, softhsm_or_skip

PROFILE = ("--set", "signing.profile=production")
COUNTS = {"root": 5, "targets": 3, "trust": 3, "registry": 3}
PASSPHRASE = "correct horse battery staple"


@dataclass
class Office:
    """The deployment, its key holders' files, and a machine that has a network."""

    deployment: Deployment
    folder: Path
    keys: dict[tuple[str, int], str] = field(default_factory=dict)
    publics: dict[tuple[str, int], Path] = field(default_factory=dict)
    token: str = ""
    hardware: MadeToken | None = None

    @property
    def index(self) -> str:
        """The URL of the default index."""
        return f"{self.deployment.api}/root/stable"

    def make_key(self, role: str, number: int, suffix: str = "") -> None:
        """Make a key; those with an odd number are encrypted."""
        signer = CryptoSigner.generate_ed25519()
        path = self.folder / f"{role}-{number}{suffix}.pem"
        protection = BestAvailableEncryption(PASSPHRASE.encode()) if number % 2 else NoEncryption()
        path.write_bytes(signer._private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection))
        self.keys[role, number] = f"{'pkcs8' if number % 2 else 'file2'}:{path}"
        public = path.with_suffix(".pub.json")
        public.write_bytes(to_bytes(PublicKeyFile(f"holder {number}", signer.public_key)))
        self.publics[role, number] = public

    def make_key_on_token(self, role: str, number: int, hardware: MadeToken) -> None:
        """Make a key in the place of one in a file, on a token that it cannot leave."""
        self.hardware = hardware
        self.publics[role, number] = self.folder / f"{role}-{number}-token.pub.json"
        options = ("--holder", f"holder {number}", "--out", str(self.publics[role, number]), "--json")
        environment = hardware.shelf.environment | {"COUNTERMARK_KEY_SECRET": hardware.pin}
        done = run(program("countermark"), "key", "new", hardware.uri(), *options, environment=environment)
        assert done.returncode == 0, done.stderr
        self.keys[role, number] = json.loads(done.stdout)["uri"]

    def keyid(self, role: str, number: int) -> str:
        """Return a key's id."""
        return str(json.loads(self.publics[role, number].read_bytes())["keyid"])

    def run(self, *arguments: str | Path, online: bool = True) -> CompletedProcess[str]:
        """Run the client, on the machine with a network or on the one without."""
        home = {"COUNTERMARK_HOME": str(self.folder / ("online" if online else "offline"))}
        connected = {"COUNTERMARK_REPOSITORY": self.index, "COUNTERMARK_TOKEN": self.token} if online else {}
        environment = {**home, **connected, "COUNTERMARK_KEY_SECRET": PASSPHRASE}
        if self.hardware is not None and any(str(each).startswith("hsm:") for each in arguments):
            environment |= {**self.hardware.shelf.environment, "COUNTERMARK_KEY_SECRET": self.hardware.pin}
        return run(program("countermark"), *map(str, arguments), environment=environment)

    def do(self, *arguments: str | Path, online: bool = True) -> str:
        """Run the client, which must succeed; return its output."""
        done = self.run(*arguments, online=online)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def open_event(self, role: str) -> str:
        """Return the id of the open event of a role."""
        events = [json.loads(line) for line in self.do("ceremony", "status", "--json").splitlines()]
        (found,) = [event["id"] for event in events if event["role"] == role]
        return str(found)

    def sign(self, event: str, role: str, numbers: list[int], root: Path | None) -> None:
        """Sign an event with keys of a role: the first on the machine with a network, the others from files."""
        carried = self.folder / f"{event}-{self.keyid(role, numbers[0])[:16]}.event.json"
        self.do("ceremony", "show", event, "--out", carried)
        sha256 = json.loads(self.do("ceremony", "status", event, "--json"))["payload_sha256"]
        for place, number in enumerate(numbers):
            out = self.folder / f"{event}-{self.keyid(role, number)[:16]}.signature.json"
            named = ("--key", self.keys[role, number], "--yes", "--sha256", sha256, "--out", out)
            if place == 0:
                self.do("ceremony", "sign", event, *named, "--submit")
            else:
                trusted = ("--root", root) if root else ()
                self.do("ceremony", "sign", carried, *named, *trusted, online=False)
                self.do("ceremony", "submit", out)

    def read(self, root: Path, path: str) -> tuple[int, bytes | None]:
        """Read a target with python-tuf's own client from a root; return the newest root's version and the bytes."""
        cache = self.folder / "cache"
        cache.mkdir(exist_ok=True)
        urls = (f"{self.index}/+tuf/metadata", str(cache), f"{self.index}/+tuf/targets")
        updater = Updater(str(cache), urls[0], urls[1], urls[2], bootstrap=root.read_bytes())
        updater.refresh()
        info = updater.get_targetinfo(path)
        content = None if info is None else Path(updater.download_target(info)).read_bytes()
        return int(json.loads((cache / "root.json").read_bytes())["signed"]["version"]), content


@pytest.fixture
def office(data: Path, tmp_path: Path) -> Iterator[Office]:
    """A deployment whose first ceremony was begun from holders' public key files, running."""
    argv = (program("countermark-server"), "up", "--data", str(data), *PROFILE, "--api-port", "0", "--ui-port", "0")
    process = Process(argv, data.with_name("up.log"))
    made = Office(Deployment(process, data, data / "objects" / "public"), tmp_path)
    softhsm_or_skip()
    shelf = TokenShelf(tmp_path / "shelf")
    shelf.lay()
    options = []
    for role, count in COUNTS.items():
        for number in range(count):
            if (role, number) == ("root", 3):
                made.make_key_on_token(role, number, shelf.new_token())
            else:
                made.make_key(role, number)
            options += ["--holder", f"{role}={made.publics[role, number]}"]
    begun = server_command("trust", "bootstrap", "--data", str(data), *PROFILE, *options)
    assert begun.returncode == 0, begun.stderr
    process.start()
    try:
        process.until_written("Ctrl-C stops it")
        made.token = made.deployment.token("--verbs", "read,upload,configure")
        yield made
    finally:
        process.end()


@pytest.mark.timeout(400)
def test_a_deployment_lives_through_its_ceremonies(office: Office, tmp_path: Path) -> None:
    """First files, a policy, a root with new keys: a stock client that knows the first root alone follows them all."""
    root = tmp_path / "1.root.json"
    _first_ceremony(office, root)
    wheel = tmp_path / "signed-1.0-py3-none-any.whl"
    wheel.write_bytes(make_wheel("signed", "1.0"))
    office.do("upload", "--index", office.index, wheel)
    office.do("download", "signed", "--dest", tmp_path / "got")
    assert (tmp_path / "got" / wheel.name).read_bytes() == wheel.read_bytes()
    assert office.read(root, "trust/policy.yaml") == (1, None)

    policy = tmp_path / "policy.yaml"
    policy.write_text('schema: "policy/v1"\npackages:\n  - {match: "*", deny: true}\n')
    target = ("--target", f"trust/policy.yaml={policy}")
    event = office.do("ceremony", "propose", "trust", *target, "--reason", "a policy").strip()
    assert f"target trust/policy.yaml is {policy}" in office.do("ceremony", "show", event, *target)
    office.sign(event, "trust", [1, 2], root)
    office.do("ceremony", "finalise", event)
    _until_read(office, root, (1, policy.read_bytes()))

    _rotate_root(office, root)
    _until_read(office, root, (2, policy.read_bytes()))
    found = office.do("ls", "signed==1.0", "--root", root)
    assert wheel.name in found


def _first_ceremony(office: Office, root: Path) -> None:
    """Have every first file signed by a threshold, and the root kept by both machines."""
    event = office.open_event("root")
    told = office.run("ceremony", "sign", event, "--key", office.keys["root", 0], "--yes")
    assert (told.returncode, "--yes without --sha256" in told.stderr) == (2, True)
    office.sign(event, "root", [0, 1], None)
    early = office.run("ceremony", "finalise", event)
    assert (early.returncode, "lacks signatures: 1 of the keys" in early.stderr) == (1, True)
    # The one on a token.
    office.sign(event, "root", [3], None)
    office.do("ceremony", "finalise", event)
    office.do("ceremony", "status", event, "--out", root)
    office.do("root", "pin", office.index, root)
    for role in ("targets", "trust", "registry"):
        event = office.open_event(role)
        office.sign(event, role, [0, 1], root)
        office.do("ceremony", "finalise", event)


def _rotate_root(office: Office, root: Path) -> None:
    """Give every holder of root a new key: a threshold of the new ones is not enough, the old ones must sign, too."""
    old = {number: (office.keys["root", number], office.publics["root", number]) for number in range(5)}
    options: list[str] = []
    for number in old:
        options += ["--remove", f"root={office.keyid('root', number)}"]
        office.make_key("root", number, "-new")
        options += ["--add", f"root={office.publics['root', number]}"]
    event = office.do("ceremony", "propose", "root", *options, "--reason", "new hardware").strip()
    office.sign(event, "root", [0, 1, 2], root)
    lacking = office.run("ceremony", "finalise", event)
    assert (lacking.returncode, "lacks signatures: 3 of the keys before" in lacking.stderr) == (1, True)
    for number in (1, 2, 3):
        office.keys["root", number], office.publics["root", number] = old[number]
    office.sign(event, "root", [1, 2, 3], root)
    office.do("ceremony", "finalise", event)


def _until_read(office: Office, root: Path, wanted: tuple[int, bytes]) -> None:
    """Wait for the publication that follows a finalised event; what is read before it must verify as well."""
    until = time.monotonic() + 60
    while (found := office.read(root, "trust/policy.yaml")) != wanted:
        assert time.monotonic() < until, found
        time.sleep(0.2)
