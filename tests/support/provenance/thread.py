"""The thread from a commit to proven bytes, by the real programs, and what happens when somebody tampers with it.

Each step runs one command as a user would type it and tells it, its output and its exit code; `Thread` changes nothing
that it does not say. Source: trust contract sections 3.3 and 6 (rows 16 and 17).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import httpx2

from deploy.data_folder import DataFolder
from tests.support.clients import static_server
from tests.support.processes import Deployment, program, run
from tests.support.provenance.project import NAME, POLICY, REPOSITORY, Job, Project
from tests.support.servers import execute
from tests.support.sigstore.process import SigstoreProcess
from tests.support.trusting import POLICY as POLICY_TARGET
from tests.support.trusting import TRUSTED_ROOT, Holders

INDEX = "root/stable"
Tell = Callable[[str], None]
"""Is told what happens, a line or several at a time."""


@dataclass(slots=True)
class Thread:
    """A deployment, a Sigstore instance, a project, and a person who downloads.

    Attributes:
        folder: empty at first; whatever is made lies in it.
        tell: what is done and said, in the order of events.
    """

    deployment: Deployment
    sigstore: SigstoreProcess
    folder: Path
    tell: Tell
    token: str = field(init=False)

    def __post_init__(self) -> None:
        """Make the token of the project's jobs."""
        self.token = self.deployment.token()

    @property
    def url(self) -> str:
        """The URL of the index."""
        return f"{self.deployment.api}/{INDEX}"

    def trust(self) -> None:
        """Have key holders sign the instance's root and the policy."""
        policy = self.folder / "policy.yaml"
        policy.write_text(POLICY)
        holders = Holders(self.deployment, self.folder / "holders")
        holders.sign({TRUSTED_ROOT: self.sigstore.trusted_root, POLICY_TARGET: policy})
        self.tell(f"Two of three key holders of `trust` signed trusted_root.json and this policy:\n{POLICY}")

    def release(self, version: str, repository: str = REPOSITORY) -> list[Path]:
        """Commit, build and attest a version as a job of a repository's workflow; returns wheel and sdist."""
        source = Project(self.folder / "source")
        commit = source.commit(version)
        dist = self.folder / f"dist-{version}"
        job = Job(self.sigstore, commit, f"refs/tags/v{version}", repository).environment()
        told = ("--outdir", str(dist), "--no-isolation")
        self._done("countermark", "build", str(source.folder), *told, environment=job)
        files = sorted(path for path in dist.iterdir() if path.suffix in {".whl", ".gz"})
        config = ("--trust-config", str(self.sigstore.client_trust_config))
        self._done("countermark", "attest", *map(str, files), *config, "--pep740", environment=job)
        return files

    def upload(self, files: list[Path]) -> CompletedProcess[str]:
        """Upload files with the attestations beside them, by unmodified twine."""
        beside = sorted(path for file in files for path in file.parent.glob(f"{file.name}.*.attestation"))
        options = ("--non-interactive", "--disable-progress-bar", "--repository-url", f"{self.url}/")
        secret = {"TWINE_USERNAME": "__token__", "TWINE_PASSWORD": self.token}
        return self._run("twine", "upload", "--attestations", *options, *map(str, files + beside), environment=secret)

    def download(self, version: str, *, repository: str | None = None) -> CompletedProcess[str]:
        """Download the wheel of a version into a fresh folder, as a person who has the root pinned."""
        dest = self.folder / "downloaded"
        for path in dest.glob("*"):
            path.unlink()
        where = ("--repository", repository or self.url, "--trust-on-first-use", "--dest", str(dest))
        return self._run("countermark", "download", f"{NAME}=={version}", *where)

    def verdict(self, file: Path, version: str) -> dict[str, Any]:
        """Ask the download verification service about a file; tells each link that it looked at."""
        self.tell(f"$ curl $REGISTRY{_verify_path(file, version)}")
        found = self._verdict(file, version)
        for step in found["steps"]:
            if step["result"] != "skipped":
                self.tell(f"{step['number']:2} {step['name']:<18}  {step['result']}: {step['reason']}")
        self.tell(f"verified: {json.dumps(found['verified'])}, as exit code {found['exit_code']}: {found['reason']}")
        return found

    def settle(self, file: Path, version: str) -> None:
        """Wait until the service finds the file good again: it tells what it found for some seconds."""
        until = time.monotonic() + 30
        while not (found := self._verdict(file, version))["verified"]:
            assert time.monotonic() < until, found
            time.sleep(0.5)

    def _verdict(self, file: Path, version: str) -> dict[str, Any]:
        secret = {"Authorization": f"Bearer {self.token}"}
        answer = httpx2.get(f"{self.deployment.api}{_verify_path(file, version)}", headers=secret, timeout=30)
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    def check(self) -> CompletedProcess[str]:
        """Compare every signed target with the catalogue, as an operator does."""
        self.tell(f"$ countermark-server index check {INDEX}")
        done = self.deployment.command("index", "check", INDEX)
        self.tell(f"{done.stdout}{done.stderr}".strip() + f"\n[exit {done.returncode}]")
        return done

    def downloaded(self) -> list[str]:
        """Return the names of what the last download placed."""
        return sorted(path.name for path in (self.folder / "downloaded").glob("*"))

    @contextmanager
    def flipped(self, pattern: str) -> Iterator[Path]:
        """Change the last byte of the one object of the public store whose path matches, until the block is left."""
        (path,) = self.deployment.tree.glob(pattern)
        whole = path.read_bytes()
        self.tell(f"The last byte of {path.relative_to(self.deployment.tree)} is changed in the store:")
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        try:
            yield path
        finally:
            path.write_bytes(whole)
            self.tell("It is changed back.")

    @contextmanager
    def bare_store(self) -> Iterator[str]:
        """Serve the public store by a plain file server, as a mirror would; gives the index there."""
        with static_server(self.deployment.tree) as url:
            yield f"{url}/indexes/{INDEX}"

    def _execute(self, statement: str) -> None:
        asyncio.run(execute(DataFolder(self.deployment.data).running().database, statement))

    @contextmanager
    def forged(self, file: Path) -> Iterator[None]:
        """Have the catalogue name other evidence for a file, by one digit, until the block is left."""
        named = f"named and file_id = (select id from file where file_name = '{file.name}')"
        changed = "overlay(sha256 placing (case when right(sha256, 1) = '0' then '1' else '0' end) from 64)"
        self.tell(
            f"In the catalogue, past every service:\n  update attestation set sha256 = {changed}\n  where {named}"
        )
        self._execute("create table kept as select id, sha256 from attestation")
        self._execute(f"update attestation set sha256 = {changed} where {named}")
        try:
            yield
        finally:
            self._execute("update attestation set sha256 = kept.sha256 from kept where kept.id = attestation.id")
            self._execute("drop table kept")
            self.tell("It is changed back.")

    def _done(self, name: str, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
        done = self._run(name, *arguments, environment=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _run(self, name: str, *arguments: str, environment: Mapping[str, str] | None = None) -> CompletedProcess[str]:
        """Run a command, and tell it, what it said, and how it ended."""
        home = {"COUNTERMARK_HOME": str(self.folder / "home"), "COLUMNS": "120", "NO_COLOR": "1", "TERM": "dumb"}
        self.tell(f"$ {self._short(' '.join((name, *arguments)))}")
        done = run(program(name), *arguments, environment=home | dict(environment or {}))
        said = self._short(f"{done.stderr}{done.stdout}".strip("\n"))
        self.tell(f"{said}\n[exit {done.returncode}]" if said else f"[exit {done.returncode}]")
        return done

    def _short(self, text: str) -> str:
        """Return a text without what differs from machine to machine."""
        return (
            text.replace(f"{self.folder}/", "").replace(str(self.folder), ".").replace(self.deployment.api, "$REGISTRY")
        )


def _verify_path(file: Path, version: str) -> str:
    return f"/api/v1/verify/{INDEX}/{NAME}/{version}/{file.name}"
