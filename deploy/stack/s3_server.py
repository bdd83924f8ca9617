"""An S3 server of our own over TLS: versitygw on a folder.

Source: infrastructure facts, "S3 through aioboto3".
"""

from __future__ import annotations

import os
import secrets
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from deploy.errors import LaunchError
from deploy.processes import ServerCommand
from deploy.stack.certificates import Certificates
from deploy.stack.children import ProgramChild, Terms, http_answer
from shared.objects.s3 import S3Connection, S3Options

REGION = "us-east-1"

_HEALTH = "/health"
"""Path that says whether it runs; no bucket of ours has that name."""

_PROBE = "user.countermark-probe"


@dataclass(frozen=True, slots=True)
class S3Place:
    """Where an S3 server of ours listens and what it presents: a port of 127.0.0.1, and certificates for it.

    `keeps_connections` is how it runs fastest; the `aws` tool then sees requests refused as malformed.
    """

    port: int
    certificates: Certificates
    keeps_connections: bool = True


class S3Server(ProgramChild):
    """versitygw in `folder`, with an access key and a secret key of this object's own.

    Args:
        folder: of this server alone; made when absent. Buckets are folders below `data` in it.
        program: versitygw.
    """

    def __init__(self, folder: Path, program: Path, place: S3Place) -> None:
        self._root = folder.absolute()
        self._place = place
        self._access_key, self._secret_key = f"root{secrets.token_hex(8)}", secrets.token_urlsafe(30)
        argv = [str(program), "--port", f"127.0.0.1:{place.port}", "--region", REGION, "--quiet"]
        if place.keeps_connections:
            argv.append("--keep-alive")
        argv += ["--cert", str(place.certificates.certificate), "--key", str(place.certificates.key)]
        argv += ["--health", _HEALTH, "--iam-dir", str(self._root / "iam"), "posix"]
        for name in ("iam", "data"):
            (self._root / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _keeps_attributes(self._root):
            (self._root / "attributes").mkdir(mode=0o700, exist_ok=True)
            argv += ["--sidecar", str(self._root / "attributes")]
        # The keys must not stand on the command line.
        environment = {**os.environ, "ROOT_ACCESS_KEY_ID": self._access_key, "ROOT_SECRET_ACCESS_KEY": self._secret_key}
        log = self._root / "versitygw.log"
        command = ServerCommand(
            "versitygw", (*argv, str(self._root / "data")), log, Terms().signal, environment=environment
        )
        # It changes into the folder that it serves.
        super().__init__(command, self._root / "data", self._check)

    @property
    def url(self) -> str:
        """Its endpoint."""
        return f"https://127.0.0.1:{self._place.port}"

    @property
    def ca_file(self) -> Path:
        """The authority that its certificate is from."""
        return self._place.certificates.authority

    @property
    def options(self) -> S3Options:
        """How the owner of everything in it connects."""
        keys = SecretStr(self._access_key), SecretStr(self._secret_key)
        return S3Options(self.url, REGION, *keys, ca_file=self.ca_file)

    async def make_buckets(self, names: Sequence[str]) -> None:
        """Make buckets that are not there yet.

        Raises:
            LaunchError: one cannot be made.
        """
        async with S3Connection.open(self.options) as connection:
            try:
                found = {bucket["Name"] for bucket in (await connection.client.list_buckets())["Buckets"]}
                for name in names:
                    if name not in found:
                        await connection.client.create_bucket(Bucket=name)
            except Exception as error:
                # Whatever the S3 library raises: the caller can do nothing else about it.
                raise LaunchError(f"the buckets cannot be made at {self.url}: {error} (log: {self.log})") from error

    async def _check(self) -> str | None:
        return await http_answer(f"{self.url}{_HEALTH}", ssl.create_default_context(cafile=self.ca_file))


def _keeps_attributes(folder: Path) -> bool:
    """Whether files here can carry extended attributes, in which versitygw keeps what it knows of them."""
    probe = folder / "probe"
    probe.touch()
    try:
        os.setxattr(probe, _PROBE, b"1")
    except (OSError, AttributeError):
        return False
    finally:
        probe.unlink(missing_ok=True)
    return True
