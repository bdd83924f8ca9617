"""Wires the index service."""

from __future__ import annotations

from services.index.hot import IndexHotReader
from services.index.jobs import job_handlers
from services.index.reader import Reader
from services.index.routes import IndexRoutes
from services.index.settings import Limits
from shared.auth.verifier import Verifier
from shared.problems import UnknownErrors, text_answer
from shared.reading.access import Access
from shared.resources import Resources
from shared.service import Service


def create_service(resources: Resources, limits: Limits | None = None) -> Service:
    """Return the index service: pages, project lists and TUF metadata, and the job that lays static pages.

    Args:
        limits: bounds of memory and time; the defaults fit the smallest deployment.
    """
    limits = limits or Limits()
    access = Access(resources.directory, Verifier(resources.directory, resources.clock))
    reader = Reader(resources, limits)
    return Service(
        name="index",
        app=UnknownErrors(IndexRoutes(access, reader), text_answer),
        hot=(IndexHotReader(access, reader),),
        handlers=job_handlers(resources, limits),
    )
