"""Measures a large upload to an S3 server over TLS, beside the command line tool `aws`, both as whole processes."""

from __future__ import annotations

import asyncio
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.errors import NotMeasured
from bench.report import MEGABYTES, SECONDS, SPEED, Figure, Row
from bench.running import free_port
from deploy.errors import LaunchError
from deploy.stack.certificates import make_certificates
from deploy.stack.programs import cache_folder, ensure_versitygw
from deploy.stack.s3_server import REGION, S3Place, S3Server
from shared.clock import SystemClock

_BUCKET = "bench"

_ROUNDS = 3
"""Uploads by each, interleaved; the median counts."""

_OF_AWS = 0.7
"""Which part of the speed of `aws` is wanted."""

_GROWTH = 64 * 1.048576
"""Megabytes (10^6 bytes) by which the process may grow over the upload."""

_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class _Upload:
    """What one upload took: seconds of the whole process, and of CPU."""

    seconds: float
    cpu: float
    printed: str


def measure_s3(megabytes: int, programs: Path, folder: Path) -> Iterator[Row]:
    """Yield the rows about a large upload to S3.

    Args:
        megabytes: size of the file.
        programs: folder with `aws`.
        folder: empty folder for the server's data and the file; holds the file three times.

    Raises:
        NotMeasured: the server cannot be started, or an upload fails.
    """
    file = folder / "file"
    block = os.urandom(_MEGABYTE)
    with file.open("wb") as content:
        for number in range(megabytes):
            content.write(number.to_bytes(8, "big") + block[8:])
    ours: list[_Upload] = []
    theirs: list[_Upload] = []
    with _server(folder / "s3") as server:
        for number in range(_ROUNDS):
            ours.append(_run(server, (sys.executable, "-m", "bench.s3_put", str(file), f"files/ours-{number}")))
            copy = ("s3", "cp", "--only-show-errors", str(file), f"s3://{_BUCKET}/files/aws-{number}")
            theirs.append(_run(server, (str(programs / "aws"), "--endpoint-url", server.url, *copy)))
            _forget(folder / "s3")
    length = megabytes * _MEGABYTE / 1e6
    label = f"upload of {megabytes} MB to S3 over TLS"
    speed = Figure(label, length / statistics.median(one.seconds for one in ours), SPEED)
    yield speed.beside("aws", length / statistics.median(one.seconds for one in theirs), at_least=_OF_AWS)
    cpu = Figure(f"{label}: CPU of the process", statistics.median(one.cpu for one in ours), SECONDS)
    yield cpu.beside("aws", statistics.median(one.cpu for one in theirs))
    growth = max(int(one.printed.split()[0]) for one in ours) / 1e6
    yield Figure(f"{label}: growth of RSS (HWM)", growth, MEGABYTES).within(_GROWTH)


@contextmanager
def _server(folder: Path) -> Iterator[S3Server]:
    """Run the S3 server with an empty bucket."""
    with asyncio.Runner() as runner:
        try:
            program = ensure_versitygw(cache_folder(os.environ), lambda text: print(f"bench: {text}", file=sys.stderr))
            place = S3Place(free_port(), make_certificates(folder / "tls", SystemClock()), keeps_connections=False)
            server = S3Server(folder, program, place)
            runner.run(server.start())
        except LaunchError as error:
            raise NotMeasured(str(error)) from error
        try:
            runner.run(server.make_buckets([_BUCKET]))
            yield server
        finally:
            runner.run(server.stop())


def _run(server: S3Server, argv: tuple[str, ...]) -> _Upload:
    options = server.options
    assert options.access_key is not None
    assert options.secret_key is not None
    access, secret = options.access_key.get_secret_value(), options.secret_key.get_secret_value()
    environment = {
        **os.environ,
        "BENCH_S3_URL": server.url,
        "BENCH_S3_CA": str(server.ca_file),
        "BENCH_S3_BUCKET": _BUCKET,
        "BENCH_S3_ACCESS_KEY": access,
        "BENCH_S3_SECRET_KEY": secret,
        "AWS_ACCESS_KEY_ID": access,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CA_BUNDLE": str(server.ca_file),
        # Neither settings nor keys of whoever measures.
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(argv, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise NotMeasured(f"{Path(argv[0]).name} does not store the file: {done.stderr.strip()[-600:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return _Upload(seconds, cpu, done.stdout)


def _forget(folder: Path) -> None:
    """Remove what was stored, to make room for the next round."""
    for stored in (folder / "data" / _BUCKET / "files").iterdir():
        stored.unlink()
