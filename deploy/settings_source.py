"""Builds the settings from where people put them, and remembers where each value came from.

Precedence: command line > environment > TOML file > default. Unknown keys are refused with the key that was probably
meant, since a misspelled setting that is ignored is worse than none. Source: architecture section 7 ("Configuration").
"""

from __future__ import annotations

import difflib
import ipaddress
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from deploy.errors import UsageError
from shared.outside import is_loopback
from shared.settings import Settings

FILE_NAME = "countermark.toml"
"""Name of the settings file that is read from the data folder when no other is given."""

_PREFIX = "COUNTERMARK_"

_CLIENT_VARIABLES = frozenset(
    f"{_PREFIX}{name}"
    for name in ("HOME", "REPOSITORY", "ROOT", "TOKEN", "USERNAME", "PASSWORD", "KEY_SECRET", "KEY_SECRET_FILE")
)
"""Variables of the client, which may stand in the same environment. Source: `countermark.settings`."""

_SECRET_FILE_LIMIT = 64 << 10
"""Bytes of a file that holds a secret."""

_CONFIG_FILE_LIMIT = 1 << 20
"""Bytes of a settings file."""

_MASK = "********"

DEFAULT_ORIGIN = "default"


@dataclass(frozen=True, slots=True)
class Sources:
    """Where settings may come from.

    Attributes:
        command_line: setting, such as `listen.api_port` -> value as written.
        environ: the environment.
        config: the TOML file given by name, which must then exist.
    """

    command_line: Mapping[str, str]
    environ: Mapping[str, str]
    config: Path | None = None


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting for people to see: its value as text (secrets masked) and where it came from."""

    key: str
    value: str
    origin: str


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """Settings, and for each key that was set where it was."""

    settings: Settings
    origins: Mapping[str, str]

    def listing(self) -> list[Setting]:
        """Return all settings in the order of their declaration."""
        return [
            Setting(key, _shown(_value_of(self.settings, key)), self.origins.get(key, DEFAULT_ORIGIN))
            for key in _fields()
        ]


@dataclass(frozen=True, slots=True)
class _Given:
    value: object
    origin: str


def load(sources: Sources) -> LoadedSettings:
    """Build the settings.

    Raises:
        UsageError: something is unknown, unreadable or out of range; one line per fault, all faults at once.
    """
    faults: list[str] = []
    given = _from_environment(sources.environ, faults)
    given |= _from_command_line(sources.command_line, faults)
    chosen = sources.config
    data = Path(str(given["data"].value)) if "data" in given else Settings.model_fields["data"].default
    beside = data / FILE_NAME
    if chosen is None and beside.is_file():
        chosen = beside
    if chosen is not None:
        from_file = _from_file(chosen, faults)
        if chosen == beside and "data" in from_file:
            faults.append(f"{chosen}: data cannot be set in the file that lies in the data folder")
        given = from_file | given
    if faults:
        raise UsageError("\n".join(faults))
    settings = _validated(given)
    faults = list(_cross_check(settings))
    if faults:
        raise UsageError("\n".join(faults))
    return LoadedSettings(settings, {key: entry.origin for key, entry in given.items()})


def _from_command_line(pairs: Mapping[str, str], faults: list[str]) -> dict[str, _Given]:
    given = {}
    for key, value in pairs.items():
        if key in _fields():
            given[key] = _Given(value, "command line")
        else:
            faults.append(f"unknown setting {key}{_hint(key, list(_fields()))}")
    return given


def _from_environment(environ: Mapping[str, str], faults: list[str]) -> dict[str, _Given]:
    names = {f"{_PREFIX}{key.replace('.', '__').upper()}": key for key in _fields()}
    files = {f"{name}_FILE": key for name, key in names.items() if _is_secret(_fields()[key])}
    given: dict[str, _Given] = {}
    for variable in sorted(environ):
        if not variable.startswith(_PREFIX) or variable in _CLIENT_VARIABLES:
            continue
        if variable in names:
            given[names[variable]] = _Given(environ[variable], f"environment {variable}")
        elif variable in files:
            key = files[variable]
            if variable.removesuffix("_FILE") in environ:
                faults.append(f"both {variable} and {variable.removesuffix('_FILE')} are set: unset one")
                continue
            given[key] = _Given(_secret_in(Path(environ[variable]), variable, faults), f"environment {variable}")
        else:
            faults.append(f"unknown environment variable {variable}{_hint(variable, [*names, *files])}")
    return given


def _from_file(path: Path, faults: list[str]) -> dict[str, _Given]:
    try:
        if path.stat().st_size > _CONFIG_FILE_LIMIT:
            raise UsageError(f"{path} is larger than {_CONFIG_FILE_LIMIT} bytes: it is no settings file")
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from error
    fields = _fields()
    files = {f"{key}_file": key for key in fields if _is_secret(fields[key])}
    given: dict[str, _Given] = {}
    for key, value in _flattened(document):
        if key in fields:
            given[key] = _Given(value, str(path))
        elif key in files:
            if files[key] in dict(_flattened(document)):
                faults.append(f"{path}: both {key} and {files[key]} are set: remove one")
                continue
            # Relative to the settings file, so that the pair can be moved together.
            secret = _secret_in(path.parent / str(value), f"{path}: {key}", faults)
            given[files[key]] = _Given(secret, f"{path} ({key})")
        else:
            faults.append(f"{path}: unknown setting {key}{_hint(key, [*fields, *files])}")
    return given


def _flattened(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in table.items():
        if isinstance(value, dict) and f"{prefix}{name}" not in _fields():
            yield from _flattened(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _secret_in(path: Path, what: str, faults: list[str]) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_SECRET_FILE_LIMIT + 1)
        if len(content) > _SECRET_FILE_LIMIT:
            raise ValueError(f"larger than {_SECRET_FILE_LIMIT} bytes")
        # Editors end files with a newline; a secret never ends with one.
        return content.decode("utf-8").rstrip("\r\n")
    except OSError as error:
        faults.append(f"{what}: {path} cannot be read: {error.strerror}")
    except ValueError as error:
        faults.append(f"{what}: {path} holds no secret: {error}")
    return ""


def _validated(given: Mapping[str, _Given]) -> Settings:
    nested: dict[str, Any] = {}
    for key, entry in given.items():
        *sections, name = key.split(".")
        table = nested
        for section in sections:
            table = table.setdefault(section, {})
        table[name] = entry.value
    try:
        settings = Settings.model_validate(nested)
    except ValidationError as error:
        raise UsageError("\n".join(_fault(fault, given) for fault in error.errors(include_input=False))) from None
    # Absolute, since children have working folders of their own.
    return settings.model_copy(update={"data": settings.data.expanduser().absolute()})


def _fault(fault: Mapping[str, Any], given: Mapping[str, _Given]) -> str:
    key = ".".join(str(part) for part in fault["loc"])
    entry = given.get(key)
    if entry is None:
        return f"{key}: {fault['msg']}"
    value = "" if _is_secret(_fields()[key]) else f", not {str(entry.value)[:80]!r}"
    return f"{key} ({entry.origin}): {fault['msg']}{value}"


def _cross_check(settings: Settings) -> Iterator[str]:
    """Yield a line for each value that is of the right type and still cannot work."""
    for key in ("outside_url", "outside_ui_url"):
        value = _value_of(settings, key)
        if value is not None and not _is_origin(str(value)):
            yield f"{key}: must be http(s)://host[:port] with an optional path, without a trailing slash, not {value!r}"
    if settings.database.url is not None:
        scheme = urlsplit(settings.database.url.get_secret_value()).scheme
        if scheme != "postgresql+asyncpg":
            yield f"database.url: must begin with postgresql+asyncpg://, not {scheme or 'no scheme'}"
    if settings.queue.url is not None:
        scheme = urlsplit(settings.queue.url.get_secret_value()).scheme
        if scheme not in ("redis", "rediss", "unix"):
            yield f"queue.url: must begin with redis://, rediss:// or unix://, not {scheme or 'no scheme'}"
    for proxy in settings.listen.proxies:
        network = _network(proxy)
        if network is None:
            yield f"listen.trusted_proxies: {proxy!r} is no address and no network such as 10.0.0.0/8"
        elif network.prefixlen == 0:
            yield f"listen.trusted_proxies: {proxy!r} is everybody: name the proxies alone"
    authorities = settings.objects.ca_file
    if authorities is not None and not authorities.is_file():
        yield f"objects.ca_file: there is no file {authorities}"
    yield from _check_open(settings)
    ports = (settings.listen.api_port, settings.listen.ui_port)
    if ports[0] == ports[1] != 0:
        yield f"listen.ui_port: must differ from listen.api_port, both are {ports[0]}"


def _check_open(settings: Settings) -> Iterator[str]:
    """Yield a line for each way by which others than this machine could reach a deployment without passwords."""
    if not settings.is_open_devpi:
        return
    told = {"outside_url": settings.outside_url, "outside_ui_url": settings.outside_ui_url}
    hosts = {key: urlsplit(url).hostname or "" for key, url in told.items() if url is not None}
    for key, host in ({"listen.host": settings.listen.host} | hosts).items():
        if not is_loopback(host):
            yield f"compat: devpi-open has no passwords and stays on this machine: {key} must be loopback, not {host}"
    if settings.listen.proxies:
        yield "compat: devpi-open has no passwords and stays on this machine: unset listen.trusted_proxies"
    if settings.signing.profile != "development":
        yield "compat: devpi-open is for development alone: set signing.profile = development"


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None


def _is_origin(url: str) -> bool:
    parts = urlsplit(url)
    plain = not parts.query and not parts.fragment and parts.username is None and not url.endswith("/")
    return parts.scheme in ("http", "https") and bool(parts.hostname) and plain


def _fields(model: type[BaseModel] = Settings, prefix: str = "") -> dict[str, FieldInfo]:
    """Return all settings: dotted key -> field, in order of declaration."""
    found: dict[str, FieldInfo] = {}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= _fields(field.annotation, f"{prefix}{name}.")
        else:
            found[prefix + name] = field
    return found


def _is_secret(field: FieldInfo) -> bool:
    return SecretStr in (field.annotation, *get_args(field.annotation))


def _value_of(settings: Settings, key: str) -> object:
    value: object = settings
    for part in key.split("."):
        value = getattr(value, part)
    return value


def _shown(value: object) -> str:
    if value is None:
        return "(not set)"
    return _MASK if isinstance(value, SecretStr) else str(value)


def _hint(unknown: str, known: list[str]) -> str:
    """Return ` (did you mean ...?)` for the nearest known name; the last part of a name counts alone as well."""
    by_key = {name.removeprefix(_PREFIX).replace("__", ".").lower(): name for name in known}
    key = unknown.removeprefix(_PREFIX).replace("__", ".").lower()
    near = difflib.get_close_matches(key, by_key, n=1, cutoff=0.75)
    if near:
        return f" (did you mean {by_key[near[0]]}?)"
    by_last = {key.rpartition(".")[2]: name for key, name in by_key.items()}
    near = difflib.get_close_matches(key.rpartition(".")[2], by_last, n=1, cutoff=0.75)
    return f" (did you mean {by_last[near[0]]}?)" if near else ""
