"""Program `python -m bench.s3_put FILE KEY`: stores a file by our S3 adapter, as the upload service does.

The environment names the server: BENCH_S3_URL, BENCH_S3_CA, BENCH_S3_BUCKET, BENCH_S3_ACCESS_KEY, BENCH_S3_SECRET_KEY.
It prints by how many bytes its resident memory grew over the upload at the most, and the CPU seconds it took.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import uvloop
from pydantic import SecretStr

from bench.machine import cpu_seconds, forget_most, resident_bytes
from shared.objects.interface import Key, LocalFile
from shared.objects.s3 import S3Connection, S3Options


async def put(file: Path, key: Key) -> None:
    """Store a small file, which loads what only uploads need, then the file; print what that took."""
    environment = {name: os.environ[f"BENCH_S3_{name}"] for name in ("URL", "CA", "BUCKET", "ACCESS_KEY", "SECRET_KEY")}
    keys = SecretStr(environment["ACCESS_KEY"]), SecretStr(environment["SECRET_KEY"])
    options = S3Options(environment["URL"], "us-east-1", *keys, ca_file=Path(environment["CA"]))
    own = [os.getpid()]
    async with S3Connection.open(options) as connection:
        store = connection.store(environment["BUCKET"])
        with tempfile.NamedTemporaryFile() as small:
            small.write(b"x" * 1000)
            small.flush()
            await store.put(Key(f"{key}.small"), LocalFile(Path(small.name)))
        forget_most(own)
        before, begun = resident_bytes(own, "VmRSS")[own[0]], cpu_seconds(own)
        await store.put(key, LocalFile(file))
        print(resident_bytes(own, "VmHWM")[own[0]] - before, cpu_seconds(own) - begun)


if __name__ == "__main__":
    uvloop.run(put(Path(sys.argv[1]), Key(sys.argv[2])))
