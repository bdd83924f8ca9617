"""A Sigstore instance as a process of its own: `python -m tests.support.sigstore --i-am-a-test-double --port 0`.

It hands certificates to whoever asks for them, so it starts only for who says that this is meant, listens on this
machine alone, and everything it signs says `O=test`.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
from pathlib import Path

from tests.support.serving import served
from tests.support.sigstore.instance import Instance
from tests.support.sigstore.server import Built, build


def _arguments(given: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.support.sigstore", description=__doc__)
    parser.add_argument("--i-am-a-test-double", action="store_true", help="say that you know that this proves nothing")
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1; 0, as is usual, takes a free one")
    parser.add_argument("--folder", type=Path, help="write the trust files there")
    parser.add_argument("--logs", choices=["1", "2", "1,2"], default="1,2", help="versions of logs to tell clients of")
    parser.add_argument("--company", action="store_true", help="be an authority without logs, with time stamps")
    return parser.parse_args(given)


async def _serve(port: int, folder: Path | None, logs: str, company: bool) -> None:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    built = build(Instance(), url, [int(version) for version in logs.split(",")], company=company)
    if folder is not None:
        _write(built, folder)
    async with served(built.app, listening):
        print(f"a Sigstore instance for tests listens at {url}", flush=True)
        await asyncio.Event().wait()


def _write(built: Built, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in built.files.items():
        (folder / name).write_bytes(content)


def main(given: list[str]) -> int:
    """Run until interrupted; returns the exit code."""
    asked = _arguments(given)
    if not asked.i_am_a_test_double:
        print(
            "this instance certifies everybody as anybody: start it for tests alone, with --i-am-a-test-double",
            file=sys.stderr,
        )
        return 2
    try:
        asyncio.run(_serve(asked.port, asked.folder, asked.logs, asked.company))
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
