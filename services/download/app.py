"""Wires the download service."""

from __future__ import annotations

from services.download.hot import DownloadHotReader
from services.download.reader import Reader
from services.download.routes import DownloadRoutes
from services.download.settings import Limits
from shared.auth.verifier import Verifier
from shared.problems import UnknownErrors, problem_answer
from shared.reading.access import Access
from shared.resources import Resources
from shared.service import Service


def create_service(resources: Resources, limits: Limits | None = None) -> Service:
    """Return the download service: files, their `.metadata`, and the `uri`s of pointers.

    Args:
        limits: bounds of memory and time; the defaults fit the smallest deployment.
    """
    limits = limits or Limits()
    access = Access(resources.directory, Verifier(resources.directory, resources.clock))
    reader = Reader(resources, limits)
    return Service(
        name="download",
        app=UnknownErrors(DownloadRoutes(resources, limits, access, reader), problem_answer),
        hot=(DownloadHotReader(access, reader),),
    )
