"""A real S3 server for tests: versitygw on a folder, with or without TLS of an authority of its own."""

from __future__ import annotations

import os
import secrets
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import SecretStr

from deploy.stack.certificates import Certificates, make_certificates
from shared.clock import SystemClock
from shared.objects.s3 import S3Connection, S3Options

HOST = "127.0.0.1"
REGION = "us-east-1"

_START_PATIENCE = 30.0
"""Seconds until it must listen."""


@dataclass(frozen=True)
class S3Server:
    """A server that runs, and its owner's keys. `data` is the folder whose folders are its buckets."""

    port: int
    data: Path
    access_key: str
    secret_key: str
    certificates: Certificates | None
    program: Path

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"{'http' if self.certificates is None else 'https'}://{HOST}:{self.port}"

    @property
    def options(self) -> S3Options:
        """What its owner connects with; few connections, so that one that is not given back is noticed."""
        return S3Options(
            endpoint_url=self.url,
            region=REGION,
            access_key=SecretStr(self.access_key),
            secret_key=SecretStr(self.secret_key),
            connections=2,
            ca_file=None if self.certificates is None else self.certificates.authority,
        )

    def through(self, port: int) -> S3Options:
        """Return the same as `options`, with another port of this machine in front."""
        return replace(self.options, endpoint_url=self.url.replace(f":{self.port}", f":{port}"))

    def connect(self) -> AbstractAsyncContextManager[S3Connection]:
        """Open a connection as the owner."""
        return S3Connection.open(self.options)

    def trust(self) -> ssl.SSLContext:
        """Return what another client needs to trust it; it speaks TLS."""
        assert self.certificates is not None
        return ssl.create_default_context(cafile=self.certificates.authority)

    def make_user(self) -> S3Options:
        """Make a user who may do nothing, and return what they connect with; the server speaks no TLS."""
        access, secret = f"user{secrets.token_hex(6)}", secrets.token_hex(20)
        owner = {"ADMIN_ACCESS_KEY": self.access_key, "ADMIN_SECRET_KEY": self.secret_key}
        made = ("create-user", "--access", access, "--secret", secret, "--role", "user")
        argv = (str(self.program), "admin", "--endpoint-url", self.url, *made)
        subprocess.run(argv, env={**os.environ, **owner}, check=True, capture_output=True)
        return replace(self.options, access_key=SecretStr(access), secret_key=SecretStr(secret))

    def make_bucket(self) -> str:
        """Make an empty bucket and return its name: to this server a folder is one."""
        name = f"b-{secrets.token_hex(6)}"
        (self.data / name).mkdir()
        return name


@contextmanager
def running_s3(program: Path, folder: Path, *, tls: bool) -> Iterator[S3Server]:
    """Run versitygw on an empty folder while the context is open."""
    data, keys = folder / "data", folder / "iam"
    data.mkdir()
    keys.mkdir()
    with closing(socket.socket()) as probe:
        probe.bind((HOST, 0))
        port = int(probe.getsockname()[1])
    access, secret = f"key{secrets.token_hex(6)}", secrets.token_hex(20)
    options = ["--port", f"{HOST}:{port}", "--region", REGION, "--iam-dir", str(keys), "--iam-cache-disable", "--quiet"]
    certificates = make_certificates(folder / "tls", SystemClock()) if tls else None
    if certificates is not None:
        options += ["--cert", str(certificates.certificate), "--key", str(certificates.key)]
    environment = {**os.environ, "ROOT_ACCESS_KEY": access, "ROOT_SECRET_KEY": secret}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            (str(program), *options, "posix", str(data)),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        _wait(process, port, folder / "log", tls=tls)
        yield S3Server(port, data, access, secret, certificates, program)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path, *, tls: bool) -> None:
    end = time.monotonic() + _START_PATIENCE
    while process.poll() is None and time.monotonic() < end:
        with suppress(OSError), socket.create_connection((HOST, port), timeout=1) as probe:
            if not tls:
                return
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            with context.wrap_socket(probe):
                return
        time.sleep(0.02)
    raise RuntimeError(f"versitygw does not listen: {log.read_text(errors='replace')[-1000:]}")
