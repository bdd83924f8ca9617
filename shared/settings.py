"""Typed settings, built once by the launcher and passed down. No module reads the environment by itself.

Precedence: command line > environment (`COUNTERMARK_...`, sections joined by two underscores) > TOML file > default.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from countermark.core.digest import Sha256, parse_sha256
from shared.key_settings import checked_key_secret, checked_key_uri, parse_table
from shared.limit_settings import NO_LIMITS, RateLimits
from shared.outside import Outside, parse_outside
from shared.reading.policy import checked_prefix
from shared.settings_section import Section
from shared.upstream_secrets import checked_secret


def _parts(text: str) -> tuple[str, ...]:
    """Return what stands between commas."""
    return tuple(part for piece in text.split(",") if (part := piece.strip()))


class Database(Section):
    """Where the catalogue is."""

    url: SecretStr | None = Field(
        None, description="postgresql+asyncpg://... ; unset: the embedded Postgres is started"
    )
    pool: int = Field(10, ge=1, le=200, description="connections kept per process")


class ObjectStoreSettings(Section):
    """Where bytes are: a folder, or two S3 buckets."""

    kind: Literal["folder", "s3"] = "folder"
    folder: Path | None = Field(None, description="folder of the object store; unset: objects/ in the data folder")
    endpoint_url: str | None = Field(None, description="S3 endpoint; unset: the S3 library's default")
    ca_file: Path | None = Field(
        None, description="PEM file of the authorities to trust at the endpoint; unset: the usual ones"
    )
    region: str = "us-east-1"
    public_bucket: str = "countermark-public"
    private_bucket: str = "countermark-private"
    access_key: SecretStr | None = None
    secret_key: SecretStr | None = None


class Queue(Section):
    """Where jobs, sessions and notices go."""

    url: SecretStr | None = Field(None, description="redis://... or unix://...; unset: the embedded Valkey is started")


class Uploads(Section):
    """Limits of uploads."""

    max_file_bytes: int = Field(4 << 30, ge=1, description="bytes of one file")
    publish_wait: float = Field(
        10.0, ge=0, le=11, description="seconds an upload waits for its publication after its last byte"
    )
    staging_age: float = Field(
        24.0, ge=1, le=24 * 365, description="hours after which a file that was left in the staging folder is removed"
    )

    scan: Literal["off", "warn", "refuse"] = Field(
        "warn", description="what becomes of a file whose Python members look like hidden code"
    )

    push_to: str = Field(
        "",
        description="upload URLs of other servers, by commas, to which, or below which, users may have releases "
        "pushed; and networks such as 10.0.0.0/8 in which the hosts of these URLs may be though they are not public",
    )
    push_seconds: float = Field(50.0, ge=1, le=3600, description="seconds that a push to another server takes at most")

    @field_validator("push_to")
    @classmethod
    def _are_places(cls, value: str) -> str:
        parse_outside(_parts(value))
        return value

    @property
    def outside(self) -> Outside:
        """`push_to` taken apart."""
        return parse_outside(_parts(self.push_to))

    @property
    def staging_limit(self) -> timedelta:
        """`staging_age` as a duration."""
        return timedelta(hours=self.staging_age)


class Downloads(Section):
    """How files are handed out."""

    redirect: bool = Field(
        False,
        description="send clients of large files to a short-lived URL of the object store, where it has such (S3); "
        "then nobody but the client checks the bytes",
    )


class Mirrors(Section):
    """How upstreams of mirrors are asked, and what is kept of them."""

    networks: str = Field(
        "",
        description="networks, by commas, that are not public and in which upstreams may be all the same, "
        "for example 10.0.0.0/8",
    )
    credentials: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="owner/index of a mirror -> https://user:password@host: for its upstream, and sent to that server "
        "alone, wherever else mirror_url points",
    )
    reserved: str = Field(
        "",
        description="beginnings of projects' names, by commas, that belong to this deployment: no mirror asks its "
        "upstream for them, whichever index is asked; acme- covers what begins so, acme also the name itself",
    )
    expiry: int = Field(
        1800,
        ge=0,
        le=86400,
        description="seconds for which a page is used without asking again, where the mirror "
        "itself says nothing; an upstream may say less",
    )
    absent: float = Field(60.0, ge=0, le=60, description="seconds for which it is remembered that there is no project")
    patience: float = Field(
        1.0, ge=0, le=60, description="seconds to wait for an upstream where an older page is kept; then that is served"
    )
    page_bytes: int = Field(64 << 20, ge=1 << 20, description="bytes of one page at the most, decoded")
    cache_bytes: int = Field(
        100 << 30, ge=0, description="bytes of fetched files that are kept; those used longest ago go first"
    )

    @field_validator("credentials")
    @classmethod
    def _are_of_servers(cls, value: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for secret in value.values():
            checked_secret(secret.get_secret_value())
        return value

    @field_validator("networks")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        if any("://" in part for part in _parts(value)):
            raise ValueError("only networks such as 10.0.0.0/8 are listed here")
        parse_outside(_parts(value))
        return value

    @field_validator("reserved")
    @classmethod
    def _are_prefixes(cls, value: str) -> str:
        for prefix in _parts(value):
            checked_prefix(prefix)
        return value

    @property
    def reserved_prefixes(self) -> tuple[str, ...]:
        """`reserved` as a list."""
        return tuple(dict.fromkeys(_parts(self.reserved)))

    @property
    def outside(self) -> Outside:
        """Which addresses upstreams may have."""
        return parse_outside(_parts(self.networks))


class Attestations(Section):
    """How attestations of mirrored files are verified."""

    trusted_root: Path | None = Field(
        None,
        description="file with the Sigstore trust root (TrustedRoot JSON) that attestations are verified against; "
        "unset: that of the public instance, as the installed sigstore library brings it along",
    )
    seconds: float = Field(20.0, ge=1, le=300, description="seconds that verifying the attestations of a file may take")
    first_root: Sha256 | None = Field(
        None,
        description="sha256 of the deployment's 1.root.json, from which upload and signing verify what the trust role "
        "signs; unset: that which a process finds first",
    )

    @field_validator("first_root")
    @classmethod
    def _is_digest(cls, value: str | None) -> Sha256 | None:
        return None if value is None else parse_sha256(value)


class Signing(Section):
    """How indexes are signed."""

    profile: Literal["development", "small", "production"] = "development"
    keys: Path | None = Field(None, description="folder of generated keys; unset: keys/ in the data folder")
    bin_bits: int | None = Field(
        None, ge=1, le=14, description="hash bins per index as a power of two; unset: by profile"
    )
    batch: int = Field(500, ge=1, le=5000, description="changes in one publication at the most")
    approval_days: float = Field(
        7.0, gt=0, le=365, description="days after which a file that waits for approvals waits no more"
    )
    keep_hours: int = Field(
        48, ge=48, le=24 * 366, description="hours for which superseded metadata and targets are kept at the least"
    )
    uris: dict[str, str] = Field(
        default_factory=dict, description="key id -> URI of the private half, instead of the one that was recorded"
    )
    secrets: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="token:<label> -> PIN and key:<key id> -> passphrase; file:<path> stands for what is in that file",
    )
    pkcs11_module: Path | None = Field(None, description="PKCS#11 library of keys on tokens; unset: PYKCS11LIB")

    @field_validator("uris", "secrets", mode="before")
    @classmethod
    def _are_tables(cls, value: object) -> object:
        """Read a table that stands in one variable or file, as a JSON object."""
        return parse_table(value) if isinstance(value, str) else value

    @field_validator("uris")
    @classmethod
    def _are_of_keys(cls, value: dict[str, str]) -> dict[str, str]:
        for keyid, uri in value.items():
            checked_key_uri(keyid, uri)
        return value

    @field_validator("secrets")
    @classmethod
    def _are_named(cls, value: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, secret in value.items():
            checked_key_secret(name, secret.get_secret_value())
        return value


class Listen(Section):
    """Where the processes listen."""

    host: str = "127.0.0.1"
    api_port: int = Field(3141, ge=0, le=65535)
    ui_port: int = Field(3142, ge=0, le=65535)
    service_port: int = Field(3143, ge=0, le=65535, description="port of a service in a process of its own")
    metrics_host: str = Field("127.0.0.1", description="address of the metrics; not for the outside")
    metrics_port: int = Field(0, ge=0, le=65535, description="port of /metrics (Prometheus) in every process; 0: none")
    trusted_proxies: str = Field(
        "",
        description="addresses or networks, by commas, of the proxies in front of the gateway: what they say in "
        "X-Forwarded-For is whom limits are counted for",
    )

    @property
    def proxies(self) -> tuple[str, ...]:
        """`trusted_proxies` as a list."""
        return _parts(self.trusted_proxies)


class Stopping(Section):
    """How a process of its own ends when it is told to (SIGTERM); told twice, it ends at once."""

    delay: float = Field(
        3.0, ge=0, le=300, description="seconds in which it still takes requests and /readyz says 503, for the ingress"
    )
    grace: int = Field(
        20, ge=1, le=3600, description="seconds that requests under way, and then jobs, get to end before they are cut"
    )


class Starting(Section):
    """How a process of its own begins."""

    patience: float = Field(
        30.0, ge=0, le=3600, description="seconds in which database, queue and object store must come up"
    )


class Oidc(Section):
    """Who signs people in. Without an issuer the local owner signs in at the provider inside the gateway, on loopback
    only."""

    issuer: str | None = Field(None, description="https URL of the OpenID provider; unset: the provider inside")
    client_id: str = "countermark"
    client_secret: SecretStr | None = None
    account_claim: str = Field("preferred_username", description="claim of the ID token that is the account's name")


class Upstreams(Section):
    """Where the gateway finds the services when each is a process of its own."""

    upload: str = Field("http://127.0.0.1:3143", description="URL of the upload service")
    index: str = Field("http://127.0.0.1:3144", description="URL of the index service")
    download: str = Field("http://127.0.0.1:3145", description="URL of the download service")
    signing: str = Field(
        "http://127.0.0.1:3146", description="URL of the signing service, for ceremonies and approvals"
    )


class Indexes(Section):
    """How many indexes there may be."""

    per_owner: int = Field(
        1000, ge=1, le=100_000, description="indexes that one account may have; the operator's commands are not bound"
    )


class Leaks(Section):
    """Who may tell of tokens that were found in public."""

    keys: dict[str, str] = Field(
        default_factory=dict, description="id -> PEM of the ECDSA P-256 keys that sign such lists; none: no intake"
    )


class Publishing(Section):
    """Trusted publishing: CI jobs exchange their identity tokens for upload tokens."""

    audience: str | None = Field(
        None,
        max_length=100,
        pattern=r"^[A-Za-z0-9._-]*$",
        description="whom identity tokens must be made for; unset: the host of outside_url, or countermark without "
        "one; empty: no trusted publishing",
    )


class Logging(Section):
    """What is logged, to standard error."""

    format: Literal["auto", "console", "json"] = Field(
        "auto", description="console: for people; json: one JSON object a line; auto: console on a terminal, else json"
    )
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


class Settings(Section):
    """Everything that can be set."""

    data: Path = Field(Path("data"), description="folder of everything the embedded profile keeps")
    outside_url: str | None = Field(None, description="the API host as clients see it, without a trailing slash")
    outside_ui_url: str | None = Field(None, description="the UI host as people see it, without a trailing slash")
    compat: Literal["none", "devpi-open"] = Field(
        "none",
        description="devpi-open: no passwords, no limits, anybody makes accounts, as a plain devpi-server; "
        "on loopback alone",
    )
    staleness: float = Field(
        2.0, gt=0, le=60, description="seconds after which a process that missed a notice looks again"
    )
    listen: Listen = Listen()
    starting: Starting = Starting()
    stopping: Stopping = Stopping()
    database: Database = Database()
    objects: ObjectStoreSettings = ObjectStoreSettings()
    queue: Queue = Queue()
    uploads: Uploads = Uploads()
    downloads: Downloads = Downloads()
    mirrors: Mirrors = Mirrors()
    attestations: Attestations = Attestations()
    signing: Signing = Signing()
    oidc: Oidc = Oidc()
    upstreams: Upstreams = Upstreams()
    limits: RateLimits = RateLimits()
    indexes: Indexes = Indexes()
    leaks: Leaks = Leaks()
    publishing: Publishing = Publishing()
    logging: Logging = Logging()

    @property
    def is_open_devpi(self) -> bool:
        """Whether this answers as open as a plain devpi-server."""
        return self.compat == "devpi-open"

    @property
    def rate_limits(self) -> RateLimits:
        """`limits`; none of them for an open devpi."""
        return NO_LIMITS if self.is_open_devpi else self.limits

    @property
    def staleness_bound(self) -> timedelta:
        """`staleness` as a duration."""
        return timedelta(seconds=self.staleness)
