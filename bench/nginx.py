"""Runs nginx with rendered pages as static files: the least that serving them can cost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench.registry import Media
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
  open_file_cache max=10 inactive=10m;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  types {{ }}
  server {{
    listen {host}:{port};
    root {folder}/pages;
{locations}
  }}
}}
"""


def program() -> str | None:
    """Return where nginx is, None when it is not installed."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def path_of(media: Media) -> str:
    """Return the path under which a form of the page is served."""
    return f"/{media.name.lower()}"


@contextmanager
def nginx(binary: str, folder: Path, pages: Mapping[Media, bytes]) -> Iterator[Running]:
    """Run nginx with one worker, which serves these bytes.

    Raises:
        NotMeasured: it does not start.
    """
    home, port = folder / "nginx", free_port()
    (home / "pages").mkdir(parents=True)
    for media, body in pages.items():
        (home / "pages" / path_of(media).lstrip("/")).write_bytes(body)
    locations = "\n".join(f"    location = {path_of(media)} {{ default_type {media.value}; }}" for media in pages)
    # Started by root its worker would run as somebody else, who cannot read a private folder.
    user = "user root;" if os.geteuid() == 0 else ""
    text = _CONFIGURATION.format(user=user, folder=home, host=HOST, port=port, locations=locations)
    configuration = home / "nginx.conf"
    configuration.write_text(text, encoding="utf-8")
    argv = (binary, "-p", str(home), "-e", str(home / "error.log"), "-c", str(configuration))
    ready = path_of(next(iter(pages)))
    with running(Command("nginx", argv, folder / "nginx.log", port, ready)) as server:
        yield server
