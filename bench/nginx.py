"""Runs nginx with rendered pages as static files: the least that serving them can cost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.running import HOST, Command, Running, free_port, running

_CONFIGURATION = """\
daemon off;
worker_processes 1;
{user}
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  sendfile on;
  tcp_nodelay on;
  keepalive_requests 1000000000;
  open_file_cache max=10000 inactive=10m;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  types {{ }}
  server {{
    listen {host}:{port};
{locations}
  }}
}}
"""


def program() -> str | None:
    """Return where nginx is, None when it is not installed."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


@dataclass(frozen=True, slots=True)
class Static:
    """What nginx answers under a path: bytes, or a file that lies somewhere."""

    media: str
    content: bytes | Path


@contextmanager
def nginx(binary: str, folder: Path, served: Mapping[str, Static]) -> Iterator[Running]:
    """Run nginx with one worker, which serves these bytes under these paths.

    Raises:
        NotMeasured: it does not start.
    """
    home, port = folder / "nginx", free_port()
    (home / "pages").mkdir(parents=True)
    locations = []
    for number, (path, static) in enumerate(served.items()):
        file = home / "pages" / str(number)
        if isinstance(static.content, Path):
            os.link(static.content, file)
        else:
            file.write_bytes(static.content)
        # nginx takes a path that ends in a slash for a folder's, unless it is rewritten first.
        where = f'rewrite ^ /{number} break; root "{file.parent}";' if path.endswith("/") else f'alias "{file}";'
        locations.append(f'    location = "{path}" {{ default_type "{static.media}"; {where} }}')
    # Started by root its worker would run as somebody else, who cannot read a private folder.
    user = "user root;" if os.geteuid() == 0 else ""
    text = _CONFIGURATION.format(user=user, folder=home, host=HOST, port=port, locations="\n".join(locations))
    configuration = home / "nginx.conf"
    configuration.write_text(text, encoding="utf-8")
    argv = (binary, "-p", str(home), "-e", str(home / "error.log"), "-c", str(configuration))
    with running(Command("nginx", argv, folder / "nginx.log", port, next(iter(served)))) as server:
        yield server
