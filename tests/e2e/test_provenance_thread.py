"""From a commit to proven bytes with the real programs, and what happens when somebody tampers on the way."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.processes import start_deployment
from tests.support.provenance.thread import Thread
from tests.support.sigstore.process import sigstore_process

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(300)]


@dataclass(frozen=True, slots=True)
class Released:
    """A thread with one version that was released: its wheel, and what was told on the way."""

    thread: Thread
    wheel: Path
    told: list[str]


@pytest.fixture(scope="module")
def released() -> Iterator[Released]:
    """A deployment whose key holders demand provenance, with version 1.0 built, attested and uploaded by a job."""
    with tempfile.TemporaryDirectory(prefix="cm-", ignore_cleanup_errors=True) as name:
        folder, told = Path(name), list[str]()
        deployment = start_deployment(folder / "data")
        try:
            with sigstore_process(folder / "sigstore") as sigstore:
                thread = Thread(deployment, sigstore, folder, told.append)
                thread.trust()
                files = thread.release("1.0")
                done = thread.upload(files)
                assert done.returncode == 0, done.stdout + done.stderr
                [wheel] = [file for file in files if file.suffix == ".whl"]
                yield Released(thread, wheel, told)
        finally:
            deployment.process.end()


def failed_link(words: str) -> str:
    """Return how the client told the link that failed."""
    [line] = [line for line in words.splitlines() if line.startswith("step ")]
    return line


def test_every_link_is_proven(released: Released) -> None:
    """What twine uploaded is downloaded with all thirteen links, and is what was built, byte for byte."""
    done = released.thread.download("1.0")
    assert done.returncode == 0, done.stderr
    numbers = [line.split()[0] for line in done.stderr.splitlines() if line.lstrip()[:1].isdigit()]
    assert numbers[:13] == [str(number) for number in range(1, 14)]
    assert "acme/thing/.github/workflows/release.yml@refs/tags/v1.0" in done.stderr
    assert "builder release" in done.stderr
    assert Path(done.stdout.strip()).read_bytes() == released.wheel.read_bytes()


def test_the_registry_says_the_same(released: Released) -> None:
    """The download verification service comes to the same verdict, link by link."""
    found = released.thread.verdict(released.wheel, "1.0")
    assert (found["verified"], found["exit_code"]) == (True, 0)
    assert {step["result"] for step in found["steps"]} == {"passed"}


@pytest.mark.parametrize(
    ("suffix", "code", "link", "words"),
    [
        ("", 41, "step 6 of 13 (digest) failed", "has sha256"),
        (".sigstore.json", 50, "step 7 of 13 (attestation digest) failed", "has sha256"),
    ],
)
def test_one_byte_in_the_store(released: Released, suffix: str, code: int, link: str, words: str) -> None:
    """A changed byte ends the run at its link, places nothing, and the verification service names the same link."""
    thread = released.thread
    with thread.flipped(f"files/*/*/{released.wheel.name}{suffix}"):
        with thread.bare_store() as url:
            done = thread.download("1.0", repository=url)
        assert (done.returncode, thread.downloaded()) == (code, []), done.stderr
        assert failed_link(done.stderr).startswith(link)
        assert words in failed_link(done.stderr)
        found = thread.verdict(released.wheel, "1.0")
        assert (found["verified"], found["exit_code"]) == (False, code)
        assert f"({found['failed']}) failed" in link
    thread.settle(released.wheel, "1.0")
    with thread.bare_store() as url:
        assert thread.download("1.0", repository=url).returncode == 0


def test_one_digit_in_the_catalogue(released: Released) -> None:
    """A changed row is found by whoever compares it with what was signed, and changes nothing that was signed."""
    thread = released.thread
    thread.settle(released.wheel, "1.0")
    with thread.forged(released.wheel):
        checked = thread.check()
        assert checked.returncode == 1
        assert f"pointers/thing/{released.wheel.name}.pointer: signed with other bytes" in checked.stdout
        found = thread.verdict(released.wheel, "1.0")
        assert (found["verified"], found["failed"]) == (False, "catalogue")
        with thread.bare_store() as url:
            assert thread.download("1.0", repository=url).returncode == 0
    assert thread.check().returncode == 0


def test_somebody_elses_workflow(released: Released) -> None:
    """What another repository's workflow signed is refused at upload, with the reason; nothing of it is published."""
    thread = released.thread
    done = thread.upload(thread.release("1.1", repository="mallory/thing"))
    said = " ".join(f"{done.stdout} {done.stderr}".split())
    assert done.returncode == 1
    assert "403" in said
    assert "mallory/thing" in said
    assert thread.download("1.1").returncode == 11
