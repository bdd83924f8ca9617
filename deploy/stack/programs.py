"""Finds the programs of the real profile, and installs those that are missing where that can be done.

Postgres 15, Redis 7 and nginx are the distribution's packages; as root on Debian they are installed by apt. No service
of the system is started or touched: only the binaries are used, on folders of ours. versitygw, the S3 server, is made
by `go install` into a cache folder outside the tree; its version and the digest of its source are written down here.
Source: infrastructure facts, "The real parts, by profile".
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.errors import LaunchError
from deploy.postgres import PostgresRelease

POSTGRES_MAJOR = "15"
REDIS_MAJOR = "7"

VERSITYGW_MODULE = "github.com/versity/versitygw"
VERSITYGW_VERSION = "v1.7.0"
VERSITYGW_DIGEST = "h1:Tyn9TOpUn6nTyYfb+e2uaz1prf5Uv44FLpy4RU/foJE="
"""Digest of the module's files as Go writes it into what it builds (`go version -m`); dependencies are pinned by it."""

_SYSTEM_PROGRAMS = (Path("/usr/sbin"), Path("/usr/local/go/bin"))
"""Where programs are that the PATH of a user may not name."""

_POLICY = Path("/usr/sbin/policy-rc.d")
"""Asked by Debian's packages whether they may start their services. Source: Debian policy manual, section 9.3.3."""

_PACKAGES = {"postgres": f"postgresql-{POSTGRES_MAJOR}", "redis-server": "redis-server", "nginx": "nginx"}
"""Program -> Debian package."""

_INSTALL_TIMEOUT = 900
"""Seconds for one step of an installation; making versitygw takes a minute of processor time."""

_POSTGRES_OPTIONS: Mapping[str, str | None] = {
    # Not known to this version.
    "io_method": None,
    "autovacuum_worker_slots": None,
    # Twelve processes of ours, each with its pool and a listener, and people who look.
    "max_connections": "200",
    "shared_buffers": "64MB",
}

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Programs:
    """Where everything is that the real profile runs beside our own processes."""

    postgres: PostgresRelease
    redis: Path
    nginx: Path
    versitygw: Path


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder that what we make is kept in, outside the tree. Source: XDG base directory specification."""
    given = environ.get("XDG_CACHE_HOME", "")
    base = Path(given) if given.startswith("/") else Path.home() / ".cache"
    return base / "countermark" / "programs"


def ensure_programs(cache: Path, say: Say) -> Programs:
    """Return the programs, after installing what is missing.

    Args:
        cache: folder for what has to be made; see `cache_folder`.
        say: tells the person waiting what is being installed.

    Raises:
        LaunchError: something is missing and cannot be installed here, or is of another version; says what to do.
    """
    missing = [name for name in _PACKAGES if _found(name) is None]
    if missing:
        install_packages([_PACKAGES[name] for name in missing], say)
    postgres, redis, nginx = (_present(name) for name in _PACKAGES)
    _check_redis(redis)
    # Debian's C.UTF-8 is part of its C library, and orders by code points too.
    locale = ("--locale=C.UTF-8",)
    release = PostgresRelease(POSTGRES_MAJOR, postgres.parent.parent, locale, _POSTGRES_OPTIONS)
    return Programs(release, redis, nginx, ensure_versitygw(cache, say))


def ensure_versitygw(cache: Path, say: Say) -> Path:
    """Return the S3 server, made once per version.

    Raises:
        LaunchError: there is no Go to make it with, or what was made is not what is written down here.
    """
    folder = cache / f"versitygw-{VERSITYGW_VERSION}"
    program = folder / "versitygw"
    with _locked(cache):
        if not program.exists():
            go = _found("go")
            if go is None:
                raise LaunchError(
                    "the S3 server is made with Go, which is not on the PATH: install Go 1.25 or later, then try again"
                )
            say(f"making versitygw {VERSITYGW_VERSION}, once; a minute or two")
            _make_versitygw(go, folder)
    return program


def _make_versitygw(go: Path, folder: Path) -> None:
    new = folder.with_name(folder.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    # The toolchain that is here, since another would have to be downloaded.
    environment = {**os.environ, "GOBIN": str(new), "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}
    environment.pop("GOFLAGS", None)
    source = f"{VERSITYGW_MODULE}/cmd/versitygw@{VERSITYGW_VERSION}"
    _run([str(go), "install", "-trimpath", "-ldflags=-s -w", source], environment, "versitygw cannot be made")
    built = _run([str(go), "version", "-m", str(new / "versitygw")], environment, "versitygw cannot be checked")
    if f"{VERSITYGW_MODULE}\t{VERSITYGW_VERSION}\t{VERSITYGW_DIGEST}" not in built:
        shutil.rmtree(new, ignore_errors=True)
        raise LaunchError(
            f"versitygw {VERSITYGW_VERSION} was made from other source than is pinned ({VERSITYGW_DIGEST}); "
            "it was not kept. Look at what the Go module proxy serves"
        )
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)


def _found(name: str) -> Path | None:
    if name == "postgres":
        program = Path(f"/usr/lib/postgresql/{POSTGRES_MAJOR}/bin/postgres")
        return program if os.access(program, os.X_OK) else None
    found = shutil.which(name)
    if found is not None:
        return Path(found)
    return next((folder / name for folder in _SYSTEM_PROGRAMS if os.access(folder / name, os.X_OK)), None)


def _present(name: str) -> Path:
    found = _found(name)
    if found is None:
        raise LaunchError(f"{name} is not where Debian's package {_PACKAGES[name]} puts it: install that package")
    return found


def _check_redis(redis: Path) -> None:
    said = _run([str(redis), "--version"], dict(os.environ), "redis-server does not run")
    version = re.search(r"v=(\d+)\.", said)
    if version is None or version[1] != REDIS_MAJOR:
        raise LaunchError(f"{redis} is not Redis {REDIS_MAJOR} but says {said.strip()[:80]!r}: install Redis 7")


def install_packages(packages: Sequence[str], say: Say) -> None:
    """Install packages by apt, where that can be done, without starting their services.

    Raises:
        LaunchError: it cannot be done here; says what to install.
    """
    apt = shutil.which("apt-get")
    names = " ".join(packages)
    if apt is None or os.geteuid() != 0:
        how = f"apt-get install {names}" if apt is not None else f"the equivalents of Debian's {names}"
        raise LaunchError(f"programs are needed that are not here: install {how} (as root), then try again")
    say(f"installing {names} by apt")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    waiting = ["-o", "DPkg::Lock::Timeout=300"]
    with _no_services_started():
        _run([apt, *waiting, "-q", "update"], environment, "apt-get update failed")
        install = [apt, *waiting, "-q", "-y", "--no-install-recommends", "install", *packages]
        _run(install, environment, f"{names} cannot be installed")


@contextmanager
def _no_services_started() -> Iterator[None]:
    """Refuse packages to start services, unless the machine has a policy of its own for that."""
    try:
        descriptor = os.open(_POLICY, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o755)
    except FileExistsError:
        yield
        return
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write("#!/bin/sh\nexit 101\n")
        yield
    finally:
        _POLICY.unlink(missing_ok=True)


@contextmanager
def _locked(cache: Path) -> Iterator[None]:
    """Hold the cache: another run on this machine may be making the same."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = (cache / "lock").open("w")
    except OSError as error:
        raise LaunchError(f"{cache} cannot be used: {error.strerror}; choose another with XDG_CACHE_HOME") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(command: list[str], environment: Mapping[str, str], fault: str) -> str:
    """Run a command of this module to its end and return what it wrote."""
    try:
        done = subprocess.run(  # noqa: S603 - commands of this file alone
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_INSTALL_TIMEOUT,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LaunchError(f"{fault}: {error}") from error
    if done.returncode != 0:
        said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise LaunchError(f"{fault}: {' / '.join(said[-3:])[-600:]}")
    return done.stdout
