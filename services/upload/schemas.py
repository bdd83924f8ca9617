"""Wire models of the upload service's own API."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field


class FileState(BaseModel):
    """How far an uploaded file has come."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    index: str = Field(description="owner/name of the index")
    project: str
    version: str
    filename: str
    sha256: str
    length: int = Field(description="bytes")
    uploaded_at: datetime
    state: str = Field(description="received, published, failed or removed")
    serial: int | None = Field(description="the publication that lists the file")
    error: str | None = Field(description="why signing refused the file, when it did")
