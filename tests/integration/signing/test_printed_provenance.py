"""Pages print the address of a provenance object where there is one: signing and serving agree on what is in it."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.digest import Length, sha256_of
from shared.catalogue import attestations
from shared.catalogue.attestations import BUNDLE, NewAttestation
from shared.catalogue.file_states import changed_files
from shared.reading.provenance import publisher_in_object
from tests.support.factories import make_file, make_index, now

SLSA, PUBLISH = "https://slsa.dev/provenance/v1", "https://docs.example/attestations/publish/v1"
GITHUB, GITLAB, GOOGLE = (
    "https://token.actions.githubusercontent.com",
    "https://gitlab.com",
    "https://accounts.google.com",
)
CLAIM = "1.3.6.1.4.1.57264.1."
WORKFLOW = "https://github.com/acme/widget/.github/workflows/release.yml@refs/tags/v1"
PIPELINE = "https://gitlab.com/acme/widget//.gitlab-ci.yml@refs/tags/v1"


def facts(issuer: str | None, repository: str = "", config: str = "", **more: Any) -> dict[str, Any]:
    """Return what is told of a bundle that verified."""
    claims = {f"{CLAIM}12": repository, f"{CLAIM}18": config}
    said = {"root_kind": "sigstore", "log": "v1", "issuer": issuer, "san": "x", "san_type": "uri"}
    return said | {"certificate": claims} | more


@pytest.mark.parametrize(
    ("predicate", "said", "publisher", "printed"),
    [
        (SLSA, facts(GITHUB, "https://github.com/acme/widget", WORKFLOW), None, True),
        (PUBLISH, facts(GITHUB, "https://github.com/acme/widget", WORKFLOW), None, True),
        (SLSA, facts(GITLAB, "https://gitlab.com/acme/widget", PIPELINE), None, True),
        (SLSA, facts(GOOGLE, san_type="email"), None, True),
        (SLSA, facts("https://ci.example/oidc"), {"kind": "GitHub"}, True),
        (SLSA, facts("https://ci.example/oidc"), None, False),
        (SLSA, facts(GITHUB, "https://github.com.evil.example/acme/widget", WORKFLOW), None, False),
        (SLSA, facts(GOOGLE), None, False),
        (SLSA, facts(GITHUB, "https://github.com/acme/widget", WORKFLOW, log="v2"), None, False),
        (SLSA, facts(None, root_kind="key", certificate=None), None, False),
        ("https://slsa.dev/provenance/v0.2", facts(GITHUB, "https://github.com/a/b", WORKFLOW), None, False),
    ],
)
async def test_what_is_printed_is_what_is_served(
    engine: AsyncEngine, predicate: str, said: dict[str, Any], publisher: dict[str, Any] | None, *, printed: bool
) -> None:
    """An address is printed of exactly what the provenance object holds."""
    index = await make_index(engine)
    file = await make_file(engine, index, "widget-1.0-py3-none-any.whl")
    new = NewAttestation(
        index_id=index.id,
        file_id=file.id,
        file_name=file.file_name,
        sha256=sha256_of(b"bundle"),
        length=Length(6),
        predicate_type=predicate,
        origin=BUNDLE,
        publisher=publisher,
        facts=said,
        named=False,
        added_at=now(),
        added_by="root",
        token_id=None,
    )
    async with engine.begin() as connection:
        assert await attestations.insert(connection, "public", new)
        [state] = await changed_files(connection, [file.project_id], [file.id], [])
    assert (state.has_provenance, publisher_in_object(publisher, predicate, said) is not None) == (printed, printed)
