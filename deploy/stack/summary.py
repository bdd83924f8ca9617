"""What a person reads when the real profile is up: what is where, and the lines to copy of the embedded profile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy import banner
from deploy.settings_source import FILE_NAME


@dataclass(frozen=True, slots=True)
class Summary:
    """Where the deployment is; see `deploy.banner.Facts`."""

    data: Path
    programs: str
    api: str
    ui: str
    index: str
    owner_link: str | None


Place = tuple[str, int, str, Path]
"""Name, process id, address, and log of a part."""


def render(summary: Summary, places: Sequence[Place], seconds: float) -> str:
    """Return the text.

    Args:
        seconds: how long the start took.
    """
    width = max(len(address) for _, _, address, _ in places)
    lines = ["", "The real profile, of processes of their own:", ""]
    lines += [
        f"  {name:<11} {pid:>8}  {address:<{width}}  {_relative(log, summary.data)}"
        for name, pid, address, log in places
    ]
    lines += [
        "",
        f"  settings  {summary.data / FILE_NAME}   (for your eyes alone: it holds passwords)",
        f"  to trust  {summary.data / 'servers' / 'tls' / 'ca.pem'}   (downloads.redirect: PIP_CERT, SSL_CERT_FILE)",
        "",
    ]
    facts = banner.Facts(
        api=summary.api,
        ui=summary.ui,
        index=summary.index,
        data=summary.data,
        programs=summary.programs,
        owner_link=summary.owner_link,
        seconds=seconds,
    )
    return "\n".join(lines) + banner.render(facts)


def _relative(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
