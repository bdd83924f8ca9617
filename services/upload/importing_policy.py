"""What the signed policy says of files that an import would bring.

An import brings no attestations. A file of which the policy demands one would be refused by signing, long after the
import said that it came in: so it is told before, and nothing of it is kept.
Source: architecture section 11.8; trust contract section 4; ADR 0037.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from countermark.core.attestations.judgements import JudgedFile
from countermark.core.digest import Sha256
from countermark.core.names import IndexName
from services.upload.attestation_rules import ascii_of
from shared.attesting.judging import Judging
from shared.auth.directory import IndexRecord
from shared.catalogue import attestations
from shared.formats.interface import Coordinates
from shared.resources import Resources

Refusal = Callable[[Coordinates, Sha256], str | None]
"""Returns why the policy does not take a file; None where it does."""


class ImportPolicy:
    """Asks the policy; what trust signs is read once for each batch."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._judging = Judging(resources.settings.attestations, resources.verifying)

    async def about(self, name: IndexName, here: IndexRecord | None, files: Iterable[Coordinates]) -> Refusal:
        """Return what answers about some files.

        Args:
            name: of the index that they go to.
            here: that index; None when it is not made yet, so that nothing in it had provenance.

        Raises:
            ServiceError: unavailable; what trust signs cannot be used.
        """
        had = dict.fromkeys((at.project for at in files), False)
        material = await self._resources.trusted.material()
        if material.policy is None:
            return lambda at, sha256: None
        if here is not None:
            async with self._resources.engine.connect() as connection:
                for project in had:
                    had[project] = await attestations.project_had_provenance(connection, here.id, here.life, project)
        now = int(self._resources.clock.now().timestamp())

        def refusal(at: Coordinates, sha256: Sha256) -> str | None:
            file = JudgedFile(str(name), at.project, at.version, at.file_name, sha256)
            verdict = self._judging.evaluate(material, file, (), now, had[at.project])
            if verdict.allowed:
                return None
            return ascii_of(f"the policy does not take it, and an import brings no attestations: {verdict.reason}.")

        return refusal
