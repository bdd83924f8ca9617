"""What the gateway derives from the settings: its two addresses, and who signs people in."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from shared.outside import is_loopback
from shared.settings import Settings


@dataclass(frozen=True, slots=True)
class Addresses:
    """The two hosts as people and clients see them: scheme and authority, no trailing slash."""

    api: str
    ui: str

    @property
    def https(self) -> bool:
        """Whether the UI is reached over TLS: cookies are then bound to it."""
        return self.ui.startswith("https://")

    @property
    def redirect_uri(self) -> str:
        """The one address to which an OpenID provider sends people back."""
        return f"{self.ui}/login/callback"


def addresses_of(settings: Settings) -> Addresses:
    """Return both addresses: as configured, else as listened on.

    Raises:
        ValueError: a configured address is no plain http(s) origin.
    """
    listen = settings.listen
    host = f"[{listen.host}]" if ":" in listen.host else listen.host
    return Addresses(
        api=_origin(settings.outside_url or f"http://{host}:{listen.api_port}", "outside_url", path=True),
        ui=_origin(settings.outside_ui_url or f"http://{host}:{listen.ui_port}", "outside_ui_url", path=False),
    )


def uses_local_provider(settings: Settings) -> bool:
    """Return whether the provider inside the gateway signs people in.

    It does when no other is configured and only this machine can reach it, by the listening address as well as by the
    one that is told to people.
    """
    host = urlsplit(addresses_of(settings).ui).hostname or ""
    return settings.oidc.issuer is None and is_loopback(settings.listen.host) and is_loopback(host)


def external_issuer(settings: Settings) -> str | None:
    """Return the configured OpenID provider, None when there is none.

    Raises:
        ValueError: it is reached without TLS, and is not on this machine.
    """
    issuer = settings.oidc.issuer
    if issuer is not None:
        parts = urlsplit(issuer)
        if not parts.hostname or not (
            parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname))
        ):
            raise ValueError(f"oidc.issuer must be an https URL: {issuer!r}")
    return issuer


def _origin(url: str, name: str, *, path: bool) -> str:
    parts = urlsplit(url)
    plain = parts.scheme in {"http", "https"} and parts.hostname and not parts.query and not parts.fragment
    if not plain or parts.username is not None or (parts.path.strip("/") and not path):
        raise ValueError(f"{name} must look like https://packages.example.org: {url!r}")
    return url.rstrip("/")
