"""The demonstration: a release by a job, a proven download, and tampering with store and catalogue, told as it happens.

`tests/e2e/test_provenance_thread.py` asserts the same, step by step. Source: issue "Provenance", "Show".
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.support.processes import start_deployment
from tests.support.provenance.thread import Tell, Thread
from tests.support.sigstore.process import sigstore_process


def show(tell: Tell) -> None:
    """Do all of it, in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="cm-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        deployment = start_deployment(folder / "data")
        try:
            with sigstore_process(folder / "sigstore") as sigstore:
                walk(Thread(deployment, sigstore, folder, tell), tell)
        finally:
            deployment.process.end()


def walk(thread: Thread, tell: Tell) -> None:
    """Walk through the demonstration on a fresh deployment."""
    tell("# Whom the registry trusts")
    thread.trust()
    tell("# A job of the release workflow builds and attests, and unmodified twine uploads")
    files = thread.release("1.0")
    thread.upload(files)
    [wheel] = [file for file in files if file.suffix == ".whl"]
    tell("# Anybody downloads: thirteen links from the pinned root to the policy")
    thread.download("1.0")
    for what, name in (("file", wheel.name), ("attestation", f"{wheel.name}.sigstore.json")):
        tell(f"# One byte of the {what} is changed in the store")
        with thread.flipped(f"files/*/*/{name}"):
            tell("A plain file server, such as a mirror, hands it out:")
            with thread.bare_store() as url:
                thread.download("1.0", repository=url)
            tell("The registry's own verification service says:")
            thread.verdict(wheel, "1.0")
        thread.settle(wheel, "1.0")
    tell("# One digit of the attestation's digest is changed in the catalogue")
    with thread.forged(wheel):
        thread.check()
        thread.verdict(wheel, "1.0")
        tell("What was signed stays as it was: a mirror of the store leads to the same proven bytes.")
        with thread.bare_store() as url:
            thread.download("1.0", repository=url)
    tell("# Somebody else's workflow signs a release of the project")
    thread.upload(thread.release("1.1", repository="mallory/thing"))
    tell("# All is as before")
    thread.check()
    thread.download("1.0")
