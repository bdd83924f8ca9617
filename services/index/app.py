"""Wires the index service."""

from __future__ import annotations

from services.index.api import api_app
from services.index.asked_pages import AskedPages
from services.index.devpi_documents import DevpiDocuments
from services.index.holds_api import HoldRoutes
from services.index.hot import IndexHotReader
from services.index.jobs import job_handlers
from services.index.mirrored_json import MirroredJson
from services.index.mirroring import Mirroring
from services.index.pasts import Pasts
from services.index.reader import Reader
from services.index.refreshing import Refreshing
from services.index.routes import IndexRoutes, no_documents
from services.index.settings import Limits
from services.index.upstreams import Upstreams
from shared.auth.verifier import Verifier
from shared.problems import UnknownErrors, text_answer
from shared.reading.access import Access
from shared.reading.api import beside
from shared.resources import Resources
from shared.service import Service


def create_service(resources: Resources, limits: Limits | None = None) -> Service:
    """Return the index service: pages, the JSON API, TUF metadata, devpi's documents, and the job that lays pages.

    Args:
        limits: bounds of memory and time; the defaults fit the smallest deployment.
    """
    limits = limits or Limits()
    verifier = Verifier(resources.directory, resources.clock)
    access = Access(resources.directory, verifier)
    page_bytes = resources.settings.mirrors.page_bytes
    upstreams = Upstreams(resources.outgoing, resources.clock, page_bytes=page_bytes, patience=limits.upstream)
    mirroring = Mirroring(resources, upstreams)
    AskedPages(resources, mirroring)
    reader = Reader(resources, limits, mirroring, MirroredJson(resources, upstreams))
    pasts = Pasts(resources, limits, mirroring, reader)
    routes = IndexRoutes(access, reader, pasts, resources.settings, no_documents)
    documents = DevpiDocuments(resources, access, reader, Refreshing(resources, mirroring, reader))
    reads = documents.before(UnknownErrors(routes, text_answer))
    return Service(
        name="index",
        app=beside(api_app(resources, verifier, HoldRoutes(resources, verifier, mirroring, reader)), reads),
        hot=(IndexHotReader(access, reader),),
        handlers=job_handlers(resources, limits),
    )
