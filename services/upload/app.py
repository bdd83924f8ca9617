"""Wires the upload service."""

from __future__ import annotations

from fastapi import FastAPI

from services.upload.routes import api_router, form_app
from services.upload.usecases import Uploads
from shared.auth.verifier import Verifier
from shared.problems import install_problem_handlers, problem_answer, text_answer
from shared.resources import Resources
from shared.service import Service


def create_service(resources: Resources) -> Service:
    """Return the upload service: the form routes of every index, and `/api/v1/files/`."""
    uploads = Uploads(resources)
    verifier = Verifier(resources.directory, resources.clock)
    forms = form_app(resources, uploads, verifier)
    install_problem_handlers(forms, text_answer)
    app = FastAPI(title="Countermark upload", version="1", docs_url=None, redoc_url=None)
    app.include_router(api_router(resources, uploads, verifier))
    install_problem_handlers(app, problem_answer)
    # Last: it matches every path that is not of the API.
    app.mount("/", forms)
    return Service(name="upload", app=app)
