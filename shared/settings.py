"""Typed settings, built once by the launcher and passed down. No module reads the environment by itself.

Precedence: command line > environment (`COUNTERMARK_...`, sections joined by two underscores) > TOML file > default.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class Section(BaseModel):
    """A group of settings; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


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


class Signing(Section):
    """How indexes are signed."""

    profile: Literal["development", "small", "production"] = "development"
    keys: Path | None = Field(None, description="folder of generated keys; unset: keys/ in the data folder")
    bin_bits: int | None = Field(
        None, ge=1, le=14, description="hash bins per index as a power of two; unset: by profile"
    )
    batch: int = Field(500, ge=1, le=5000, description="changes in one publication at the most")


class Listen(Section):
    """Where the processes listen."""

    host: str = "127.0.0.1"
    api_port: int = Field(3141, ge=0, le=65535)
    ui_port: int = Field(3142, ge=0, le=65535)
    service_port: int = Field(3143, ge=0, le=65535, description="port of a service in a process of its own")


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


class Logging(Section):
    """What is logged, to standard error."""

    format: Literal["console", "json"] = Field("console", description="lines for people, or one JSON object each")
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


class Settings(Section):
    """Everything that can be set."""

    data: Path = Field(Path("data"), description="folder of everything the embedded profile keeps")
    outside_url: str | None = Field(None, description="the API host as clients see it, without a trailing slash")
    outside_ui_url: str | None = Field(None, description="the UI host as people see it, without a trailing slash")
    staleness: float = Field(
        2.0, gt=0, le=60, description="seconds after which a process that missed a notice looks again"
    )
    listen: Listen = Listen()
    database: Database = Database()
    objects: ObjectStoreSettings = ObjectStoreSettings()
    queue: Queue = Queue()
    uploads: Uploads = Uploads()
    signing: Signing = Signing()
    oidc: Oidc = Oidc()
    upstreams: Upstreams = Upstreams()
    logging: Logging = Logging()

    @property
    def staleness_bound(self) -> timedelta:
        """`staleness` as a duration."""
        return timedelta(seconds=self.staleness)
