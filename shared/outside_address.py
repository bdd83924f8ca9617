"""Where clients see this deployment: the one address that documents print whole.

Source: architecture section 11.4; PEP 740 (a secure origin for provenance objects).
"""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import urlsplit

from countermark.core.names import IndexName
from shared.outside import is_loopback
from shared.settings import Settings


def outside_url(settings: Settings) -> str:
    """Return the API host as clients see it, else as this process is told it listens; without a slash at its end."""
    host = f"[{settings.listen.host}]" if ":" in settings.listen.host else settings.listen.host
    return (settings.outside_url or f"http://{host}:{settings.listen.api_port}").rstrip("/")


def index_url(settings: Settings, index: IndexName) -> str | None:
    """Return an index's absolute URL with a slash at its end; None when it is neither https nor of this machine."""
    outside = outside_url(settings)
    return f"{outside}/{index}/" if _is_secure(outside) else None


@lru_cache(maxsize=16)
def _is_secure(url: str) -> bool:
    """Return whether a URL is https, or of this machine."""
    parts = urlsplit(url)
    secure = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
    return secure and bool(parts.hostname)
