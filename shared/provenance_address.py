"""The one absolute address that signed page documents print: where an index's provenance objects are.

Source: architecture section 11.4; PEP 740 (a secure origin).
"""

from __future__ import annotations

from urllib.parse import urlsplit

from countermark.core.names import IndexName
from shared.outside import is_loopback
from shared.settings import Settings


def index_url(settings: Settings, index: IndexName) -> str | None:
    """Return an index's absolute URL with a slash at its end; None when it is neither https nor of this machine.

    Of `outside_url`; without that, of where this process is told it listens.
    """
    host = f"[{settings.listen.host}]" if ":" in settings.listen.host else settings.listen.host
    outside = (settings.outside_url or f"http://{host}:{settings.listen.api_port}").rstrip("/")
    parts = urlsplit(outside)
    secure = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
    return f"{outside}/{index}/" if secure and parts.hostname else None
