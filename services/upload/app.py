"""Wires the upload service."""

from __future__ import annotations

from fastapi import FastAPI

from services.upload.answering import ByClient
from services.upload.attestation_routes import attestation_router
from services.upload.devpi import Removing
from services.upload.forwarding import Forwarder
from services.upload.holding import job_handlers
from services.upload.management import management_router
from services.upload.managing import Projects
from services.upload.push_routes import PushRoutes
from services.upload.pushing import Pushes
from services.upload.removing import Removals
from services.upload.routes import Uploading, api_router, devpi_app
from services.upload.staging import PartsSweep, StagingSweep
from services.upload.usecases import Uploads
from shared.auth.verifier import Verifier
from shared.bodies import BoundedBodies, OwnPagesOnly, own_origin
from shared.errors import ErrorKind, ServiceError
from shared.problems import install_problem_handlers, problem_answer
from shared.resources import Resources
from shared.service import Service

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


async def _no_route(rest: str) -> None:
    """Answer in the API's own form what would otherwise be taken for an upload URL."""
    raise ServiceError(ErrorKind.NOT_FOUND, "There is no such route in this API, or not with this method.")


def create_service(resources: Resources) -> Service:
    """Return the upload service: the form routes of every index, and its share of `/api/v1`."""
    uploads = Uploads(resources)
    verifier = Verifier(resources.directory, resources.clock)
    pushes = PushRoutes(resources, Pushes(resources, uploads.staging), Forwarder(resources), verifier)
    origin = own_origin(resources.settings)
    uploading = Uploading(resources, uploads, pushes, verifier)
    removing = Removing(resources, Removals(resources), verifier)
    app = FastAPI(title="Countermark upload", version="1", docs_url=None, redoc_url=None)
    app.include_router(api_router(resources, uploads, verifier))
    app.include_router(management_router(resources, Projects(resources), verifier))
    app.include_router(attestation_router(resources, uploads.attesting, verifier))
    app.add_api_route("/api/{rest:path}", _no_route, methods=_METHODS, include_in_schema=False)
    app.add_middleware(BoundedBodies, below="/api/")
    app.add_middleware(OwnPagesOnly, origin=origin, below="/api/")
    install_problem_handlers(app, problem_answer)
    # Last: it matches every path that is not of the API.
    app.mount("/", ByClient(lambda: devpi_app(uploading, removing), origin))
    age = resources.settings.uploads.staging_limit
    staging = StagingSweep(uploads.staging, age, resources.clock)
    parts = PartsSweep(resources.objects, age, resources.clock)
    return Service(name="upload", app=app, handlers=job_handlers(resources), loops=(staging.run, parts.run))
