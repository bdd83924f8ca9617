"""One function per table: inserts a row with sane values and returns what tests need of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b, md5
from typing import Any

from packaging.utils import canonicalize_name
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.digest import Sha256, sha256_of
from countermark.core.names import FileName, IndexName, NormalizedName, parse_index_name
from shared.auth.directory import CHANNEL as DIRECTORY
from shared.auth.directory import scope_to
from shared.auth.principal import ANONYMOUS, Scope, Verb
from shared.auth.tokens import FORMAT_VERSION, new_secret, token_sha256
from shared.catalogue.tables import Account, Deployment, File, Grant, IndexBase, IndexRow, Project, Release, Token
from shared.formats.python.names import release_key
from shared.ids import FileId, IndexId, ProjectId, new_uuid

EVERYTHING = (Scope(index=None, project=None, verbs=frozenset(Verb)),)
"""Scopes of a token that may do all its account may."""


@dataclass(frozen=True, slots=True)
class MadeIndex:
    """An index that was inserted."""

    id: IndexId
    name: IndexName
    public: bool


@dataclass(frozen=True, slots=True)
class MadeFile:
    """A file that was inserted; no publication shows it yet, and no bytes are stored."""

    id: FileId
    project_id: ProjectId
    project: NormalizedName
    version: str
    file_name: FileName
    sha256: Sha256
    content: bytes
    core_metadata: bytes | None

    @property
    def path(self) -> str:
        """What follows `+f/`."""
        return f"{self.sha256[:3]}/{self.sha256[3:16]}/{self.file_name}"


def now() -> datetime:
    """Return the current time in whole seconds, as the catalogue's clients write it."""
    return datetime.now(UTC).replace(microsecond=0)


async def make_account(engine: AsyncEngine, name: str = "root", *, password_hash: str | None = None) -> str:
    """Insert an account, if there is none of this name."""
    async with engine.begin() as connection:
        row = upsert(Account).values(name=name, password_hash=password_hash, email=None, created_at=now())
        await connection.execute(row.on_conflict_do_nothing())
    return name


async def make_index(
    engine: AsyncEngine,
    name: str = "root/stable",
    *,
    public: bool = True,
    readers: Sequence[str] | None = None,
    kind: str = "stage",
) -> MadeIndex:
    """Insert an index, its owner, and who may read it.

    Args:
        readers: subjects of the read grant; everyone for a public index, the owner for a private one.
        kind: `stage` or `mirror`.
    """
    index = parse_index_name(name)
    await make_account(engine, index.owner)
    index_id = IndexId(new_uuid())
    async with engine.begin() as connection:
        await connection.execute(
            insert(IndexRow).values(
                id=index_id,
                owner=index.owner,
                name=index.name,
                type=kind,
                visibility="public" if public else "private",
                volatile=False,
                admission="strict",
                settings={},
                created_at=now(),
            )
        )
        subjects = readers if readers is not None else [ANONYMOUS if public else index.owner]
        grants = [{"index_id": index_id, "subject": subject, "verb": "read"} for subject in subjects]
        grants += [{"index_id": index_id, "subject": index.owner, "verb": verb} for verb in ("upload", "remove")]
        await connection.execute(insert(Grant), grants)
        await connection.execute(select(func.pg_notify(DIRECTORY, "")))
    return MadeIndex(index_id, index, public)


async def set_bases(engine: AsyncEngine, index: MadeIndex, *bases: str, **options: object) -> None:
    """Base an index on others, in order and in place of what it was based on; tells every process.

    Args:
        options: settings of the index that change with it (`mirror_whitelist`, `mirror_whitelist_inheritance`).
    """
    async with engine.begin() as connection:
        await connection.execute(delete(IndexBase).where(IndexBase.index_id == index.id))
        for position, base in enumerate(map(parse_index_name, bases)):
            names = {"base_owner": base.owner, "base_name": base.name}
            await connection.execute(insert(IndexBase).values(index_id=index.id, position=position, **names))
        await connection.execute(update(IndexRow).where(IndexRow.id == index.id).values(settings=options))
        await connection.execute(select(func.pg_notify(DIRECTORY, "")))


async def make_default(engine: AsyncEngine, index: MadeIndex) -> None:
    """Insert the deployment's row, with this default index."""
    async with engine.begin() as connection:
        row = insert(Deployment).values(one=True, id=new_uuid(), default_index=str(index.name), created_at=now())
        await connection.execute(row)


async def make_token(
    engine: AsyncEngine,
    account: str = "root",
    scopes: Sequence[Scope] = EVERYTHING,
    *,
    lifetime: timedelta = timedelta(days=1),
    publisher: Mapping[str, Any] | None = None,
) -> str:
    """Insert a token and its account, and return its secret.

    Args:
        publisher: the CI identity that it was made for by trusted publishing, with its claims.
    """
    await make_account(engine, account)
    secret = new_secret()
    async with engine.begin() as connection:
        await connection.execute(
            insert(Token).values(
                id=new_uuid(),
                secret_sha256=token_sha256(secret),
                format_version=FORMAT_VERSION,
                account=account,
                label="test",
                scopes=[scope_to(scope) for scope in scopes],
                created_at=now(),
                expires_at=now() + lifetime,
                publisher=publisher,
            )
        )
        await connection.execute(select(func.pg_notify(DIRECTORY, "")))
    return secret


async def make_project(engine: AsyncEngine, index: MadeIndex, name: str, *, status: str = "active") -> ProjectId:
    """Insert a project, or return the one that is there."""
    normalised = canonicalize_name(name)
    async with engine.begin() as connection:
        row = upsert(Project).values(
            id=new_uuid(),
            index_id=index.id,
            life=1,
            format="python",
            name=normalised,
            display_name=name,
            status=status,
            created_at=now(),
        )
        await connection.execute(row.on_conflict_do_nothing())
        found = select(Project.id).where(Project.index_id == index.id, Project.name == normalised)
        return ProjectId((await connection.execute(found)).scalar_one())


async def make_file(
    engine: AsyncEngine,
    index: MadeIndex,
    file_name: str,
    content: bytes = b"bytes of a file",
    *,
    core_metadata: bytes | None = None,
) -> MadeFile:
    """Insert a file, its project and its release, as its name tells (`name-version-...` or `name-version.tar.gz`)."""
    name, version = file_name.removesuffix(".tar.gz").split("-")[:2]
    project_id = await make_project(engine, index, name)
    sha256, file_id = sha256_of(content), FileId(new_uuid())
    async with engine.begin() as connection:
        release = upsert(Release).values(
            id=new_uuid(),
            project_id=project_id,
            version=version,
            version_key=release_key(version),
            core_metadata={},
            created_at=now(),
        )
        await connection.execute(release.on_conflict_do_nothing())
        found = select(Release.id).where(Release.project_id == project_id, Release.version == version)
        release_id = (await connection.execute(found)).scalar_one()
        await connection.execute(
            insert(File).values(
                id=file_id,
                index_id=index.id,
                project_id=project_id,
                release_id=release_id,
                file_name=file_name,
                package_type="bdist_wheel" if file_name.endswith(".whl") else "sdist",
                sha256=sha256,
                path_key=sha256[:16],
                blake2b_256=blake2b(content, digest_size=32).hexdigest(),
                md5=md5(content, usedforsecurity=False).hexdigest(),
                length=len(content),
                requires_python=">=3.9",
                core_metadata_sha256=None if core_metadata is None else sha256_of(core_metadata),
                core_metadata_length=None if core_metadata is None else len(core_metadata),
                uploaded_at=now(),
                uploader=index.name.owner,
            )
        )
    project = canonicalize_name(name)
    return MadeFile(file_id, project_id, project, version, FileName(file_name), sha256, content, core_metadata)
