"""What the routes of trusted publishers take and answer."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from gateway.v1.schemas import Answer, Name, Payload

Text = Annotated[str, Field(min_length=1, max_length=300)]


class PublisherPayload(Payload):
    """A CI identity that is to upload to a project. GitHub and GitLab: repository and workflow; generic: claims."""

    project: Name
    kind: Literal["github", "gitlab", "generic"]
    issuer: Annotated[str, Field(max_length=2000)] | None = Field(
        None, description="https URL of the issuer of identity tokens; left out: that of the public forge"
    )
    repository: Text | None = Field(None, description="owner/name, or group/project")
    workflow: Text | None = Field(None, description="release.yml of GitHub; the path of GitLab's CI configuration")
    environment: Text | None = Field(None, description="the deployment environment; left out: any, also none")
    ref: Text | None = Field(None, description="refs/heads/main, or refs/tags/* for all that begin so")
    ref_protected: bool = Field(False, description="whether the branch or tag must be a protected one")
    runner_environment: Text | None = Field(None, description="for example github-hosted")
    called_workflow: Text | None = Field(
        None,
        description="the reusable workflow that `workflow` calls: owner/repository/.github/workflows/file.yml@ref",
    )
    repository_id: Text | None = Field(None, description="left out: the first identity token says it")
    owner_id: Text | None = Field(None, description="left out: the first identity token says it")
    claims: dict[Name, str | int | bool] | None = Field(
        None, description="generic: claims -> exact values, sub among them"
    )


class Publisher(Answer):
    """A trusted publisher of a project."""

    id: UUID
    index: str
    project: str
    kind: Literal["github", "gitlab", "generic"]
    issuer: str
    identity: dict[str, Any] = Field(description="what its identity tokens must say")
    pinned: dict[str, str] = Field(description="claims with the ids of repository and owner, as far as they are known")
    state: Literal["active", "pending", "expired"] = Field(description="pending: the project does not exist yet")
    pending_until: datetime | None
    created_at: datetime
    account: str = Field(description="who registered it, and with whom it ends")
    used_at: datetime | None
