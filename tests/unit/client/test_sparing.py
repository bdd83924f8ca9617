"""Programs do without the libraries of key services, until a key lies in one. Each test is a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from countermark.core.signing.sparing import LIBRARIES

LOADED = f"import sys; print('loaded:', *[name for name in {LIBRARIES!r} if name in sys.modules])"


def python(code: str, **environment: str) -> str:
    """Return what a program prints."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment or None)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_tuf_is_loaded_without_them() -> None:
    """What is not asked for costs nothing; by its own name every library is there."""
    begin = "from countermark.core.signing.sparing import spare; spare(); import tuf.api.metadata"
    assert python(f"{begin}; {LOADED}") == "loaded:"
    assert python(f"{begin}; import hvac, pkcs11, boto3; {LOADED}") == "loaded: boto3 hvac pkcs11"
    assert python(f"import hvac; {begin}; {LOADED}") == "loaded: hvac"


@pytest.mark.parametrize(
    ("program", "arguments"),
    [("countermark.__main__", ["trust", "show", "--help"]), ("deploy.program", ["keys", "list", "--help"])],
)
def test_programs_spare(program: str, arguments: list[str]) -> None:
    """Commands of client and server, and all that they import."""
    code = f"""
import sys
sys.argv = ["program", *{arguments!r}]
from {program} import main
try:
    main()
except SystemExit:
    import tuf.api.metadata
    print()
    {LOADED.removeprefix("import sys; ")}
"""
    assert python(code).splitlines()[-1] == "loaded:"


@pytest.mark.parametrize(
    ("uri", "library"),
    [("hv:some/1", "hvac"), ("awskms:some", "boto3")],
)
def test_a_uri_loads_what_it_needs(uri: str, library: str) -> None:
    """The signer of its scheme works then, as far as its service is there."""
    code = f"""
from countermark.core.signing.sparing import spare
spare()
from securesystemslib.signer import CryptoSigner
from countermark.core.signing.access import KeyAccess
from countermark.core.signing.faults import KeyUnusable
from countermark.core.signing.loading import load_signer
key = CryptoSigner.generate_ecdsa().public_key
try:
    load_signer({uri!r}, key, KeyAccess(environ={{"VAULT_ADDR": "http://127.0.0.1:1"}}))
except KeyUnusable as error:
    assert "not installed" not in str(error) and "library" not in str(error), error
{LOADED}
"""
    nowhere = {"VAULT_ADDR": "http://127.0.0.1:1", "AWS_DEFAULT_REGION": "x", "AWS_EC2_METADATA_DISABLED": "true"}
    assert python(code, **nowhere) == f"loaded: {library}"
