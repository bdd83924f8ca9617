"""A deployment whose projects are managed, and what is signed there as readers see it."""

from dataclasses import dataclass
from typing import Any

import httpx2
import orjson
from sqlalchemy import func, select

from countermark.core.names import FileName
from countermark.core.pointer import parse_latest
from services.download.rules import FileWanted, refusal
from shared.catalogue import reading
from shared.catalogue.tables import Audit, File, Journal
from shared.errors import ErrorKind
from shared.resources import Resources
from tests.support.archives import Project, make_wheel
from tests.support.factories import MadeIndex
from tests.support.tuf_reader import TreeReader
from tests.support.uploading import form_body

API = "/api/v1/indexes/root/stable/projects"


@dataclass
class Deployment:
    """The upload service with a signer at work, its owner's token, and a reader of what is signed."""

    resources: Resources
    index: MadeIndex
    http: httpx2.AsyncClient
    owner: dict[str, str]
    tree: TreeReader

    async def upload(self, *names: str, summary: str | None = None) -> None:
        """Upload wheels `name-version`, each under its own name."""
        for name in names:
            project, version = name.split("-")
            content = make_wheel(project, version, project=Project(project, version, summary=summary))
            body, form = form_body(f"{project}-{version}-py3-none-any.whl", content)
            answer = await self.http.post("/root/stable/", content=body, headers=self.owner | form)
            assert answer.status_code == 200, answer.text
            assert "serial" in answer.text, "published before it was answered"

    async def ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Ask as the owner and expect success."""
        answer = await self.http.request(method, f"{API}{path}", json=body, headers=self.owner)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def page(self, project: str = "widget") -> dict[str, Any]:
        """Return the signed page document of a project as a TUF client gets it."""
        document: dict[str, Any] = orjson.loads(self.tree.target(f"pointers/{project}/_simple.json") or b"null")
        return document

    def has_pointer(self, file_name: str, project: str = "widget") -> bool:
        """Whether signed metadata name a pointer of a file."""
        return self.tree.target(f"pointers/{project}/{file_name}.pointer") is not None

    def latest(self, project: str = "widget") -> str | None:
        """Return the version that the signed `_latest` names."""
        found = self.tree.target(f"pointers/{project}/_latest.pointer")
        return None if found is None else parse_latest(found).version

    async def journal(self) -> list[tuple[str | None, str, str | None]]:
        """Return the journal: version, action, actor."""
        async with self.resources.engine.connect() as connection:
            query = select(Journal.version, Journal.action, Journal.actor).order_by(Journal.serial, Journal.position)
            return [(row.version, row.action, row.actor) for row in await connection.execute(query)]

    async def audited(self) -> list[tuple[str, str, str]]:
        """Return what people did beside uploading: actor, action, subject."""
        async with self.resources.engine.connect() as connection:
            others = (Audit.subject.startswith("root/stable/"), Audit.action != "file.upload")
            query = select(Audit.actor, Audit.action, Audit.subject).where(*others)
            return [(row.actor, row.action, row.subject) for row in await connection.execute(query.order_by(Audit.id))]

    async def refused(self, file_name: str) -> ErrorKind | None:
        """Return why the download service refuses a file, None when it serves it."""
        async with self.resources.engine.connect() as connection:
            files = await connection.execute(select(func.max(File.path_key)).filter_by(file_name=file_name))
            key = files.scalar_one()
            facts = await reading.file_facts(connection, self.index.id, key, FileName(file_name))
        error = refusal(FileWanted(key, FileName(file_name), metadata=False), facts)
        return None if error is None else error.kind


W10, W11 = "widget-1.0-py3-none-any.whl", "widget-1.1-py3-none-any.whl"
W100 = "widget-1.0.0-py3-none-any.whl"
