"""Wires the download service."""

from __future__ import annotations

from services.download.api import api_app
from services.download.attestations import Attesting
from services.download.counting import Downloads
from services.download.devpi_files import DevpiFiles
from services.download.doc_routes import DocRoutes
from services.download.documentation import Documentation
from services.download.evicting import Eviction
from services.download.hot import DownloadHotReader
from services.download.integrity import IntegrityRoutes
from services.download.reader import Reader
from services.download.routes import DownloadRoutes, Reading
from services.download.settings import Limits
from services.download.uses import Uses
from services.download.verification.api import Verifying
from services.download.verification.guarding import Guard
from services.download.verification.hashes import Hashes
from services.download.verification.verifying import ASKED, Examinations
from shared.auth.verifier import Verifier
from shared.fetching.fetching import Fetching
from shared.problems import UnknownErrors, problem_answer
from shared.reading.access import Access
from shared.reading.api import beside
from shared.resources import Resources
from shared.service import Service


def create_service(resources: Resources, limits: Limits | None = None) -> Service:
    """Return the download service: files, `.metadata`, the `uri`s of pointers, documentation, download counts, and
    whether attestations of mirrored files verify.

    Args:
        limits: bounds of memory and time; the defaults fit the smallest deployment.
    """
    limits = limits or Limits()
    verifier = Verifier(resources.directory, resources.clock)
    access = Access(resources.directory, verifier)
    fetching = Fetching(resources, limits.fetching)
    downloads = Downloads(resources.engine, resources.clock, limits.flush_seconds)
    uses, guard = Uses(resources.engine, resources.clock), Guard(resources, limits)
    reading = Reading(Reader(resources, limits, fetching), downloads, fetching, uses, guard)
    files_and_objects = IntegrityRoutes(resources, access, reading, DownloadRoutes(resources, limits, access, reading))
    routes = DocRoutes(Documentation(resources), limits, access, files_and_objects)
    files = UnknownErrors(routes, problem_answer)
    reads = DevpiFiles(resources, access, reading.reader).before(files)
    examinations = Examinations(resources, limits, Hashes(remember=False), ASKED, limits.verified_seconds)
    attesting = Attesting(resources, access, verifier, reading.reader, fetching)
    return Service(
        name="download",
        app=beside(
            api_app(resources, verifier, attesting, Verifying(resources, access, verifier, examinations)), reads
        ),
        hot=(DownloadHotReader(access, reading),),
        loops=(reading.downloads.run, reading.uses.run, Eviction(resources, limits, fetching).run),
    )
