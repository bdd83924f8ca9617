"""Settings of a run: environment variables, overruled by flags, read once by the command line.

| variable | meaning |
|---|---|
| `COUNTERMARK_HOME` | folder for roots, bases and metadata; else the user's configuration and cache folders |
| `COUNTERMARK_REPOSITORY` | the index, when `--repository` or `--index` is not given |
| `COUNTERMARK_MIRRORS` | other addresses of that index, separated by spaces, when `--mirror` is not given |
| `COUNTERMARK_ROOT` | a root file to start from, when `--root` is not given |
| `COUNTERMARK_DEADLINE` | seconds for all metadata of a run, and for a file before its rate counts; else 120 and 30 |
| `COUNTERMARK_TOKEN` | a token; or `COUNTERMARK_USERNAME` with `COUNTERMARK_PASSWORD` |
| `NETRC` | the netrc file; else the one in the home folder |

`attest` alone reads `COUNTERMARK_IDENTITY_TOKEN`, and the variables of keys.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import platformdirs

from countermark.core.errors import UsageFault
from countermark.credentials import Secrets
from countermark.location import Location, origin_of, parse_location, parse_url

_MOST_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says."""

    pins_folder: Path
    cache_folder: Path
    views_folder: Path
    repository: str | None = None
    mirrors: tuple[str, ...] = ()
    root: Path | None = None
    deadline: timedelta | None = None
    secrets: Secrets = field(default_factory=Secrets)

    def repository_or(self, given: str | None, flag: str) -> str:
        """Return the repository from the flag, else from the environment.

        Raises:
            UsageFault: neither names one.
        """
        chosen = given or self.repository
        if not chosen:
            raise UsageFault("no repository is named", f"Give {flag}, or set COUNTERMARK_REPOSITORY.")
        return chosen

    def mirrors_of(self, home: Location, given: Sequence[str]) -> Sequence[str]:
        """Return the mirrors from flags, else from the environment.

        Those of the environment are of the repository of the environment when it names one: a repository that a flag
        names has none of them.
        """
        if not given and self.repository and parse_location(self.repository) != home:
            return ()
        return given or self.mirrors

    def secrets_for(self, url: str, token: str | None = None) -> Secrets:
        """Return the secrets to use for `url`: a token from a flag first.

        Those of the environment belong to the repository of the environment when it names one: they are not sent to
        another origin that a flag names. A netrc file names its hosts itself.
        """
        if token:
            return Secrets(token=token)
        if self.repository and _origin(self.repository) != _origin(url):
            return Secrets(netrc=self.secrets.netrc)
        return self.secrets


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read the settings from an environment; empty values count as absent.

    Raises:
        UsageFault: a value cannot be used.
    """
    values = {name: value for name, value in environment.items() if value}
    home = values.get("COUNTERMARK_HOME")
    root = values.get("COUNTERMARK_ROOT")
    return Settings(
        pins_folder=Path(home, "roots") if home else platformdirs.user_config_path("countermark") / "roots",
        cache_folder=Path(home, "cache") if home else platformdirs.user_cache_path("countermark") / "metadata",
        views_folder=Path(home, "views") if home else platformdirs.user_config_path("countermark") / "views",
        repository=values.get("COUNTERMARK_REPOSITORY"),
        mirrors=tuple(values.get("COUNTERMARK_MIRRORS", "").split()),
        root=Path(root) if root else None,
        deadline=_seconds("COUNTERMARK_DEADLINE", values),
        secrets=Secrets(
            token=values.get("COUNTERMARK_TOKEN"),
            username=values.get("COUNTERMARK_USERNAME"),
            password=values.get("COUNTERMARK_PASSWORD"),
            netrc=Path(values.get("NETRC") or os.path.expanduser("~/.netrc")),
        ),
    )


def _seconds(name: str, values: Mapping[str, str]) -> timedelta | None:
    text = values.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:6]) <= _MOST_SECONDS and len(text) < 6):
        raise UsageFault(f"{name} is {text!r}", f"Set it to whole seconds, 1 to {_MOST_SECONDS}, or leave it away.")
    return timedelta(seconds=int(text))


def _origin(url: str) -> object:
    parts = parse_url(url)
    return None if parts.scheme == "file" else origin_of(parts)
