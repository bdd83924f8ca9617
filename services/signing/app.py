"""Wires the signing service. Its work arrives as jobs; from outside, through the gateway, come ceremonies and
approvals alone."""

from __future__ import annotations

from fastapi import FastAPI

from services.signing.approvals.routes import ApprovalRoutes
from services.signing.ceremonies.routes import EventRoutes
from services.signing.jobs import RefreshLoop, handlers
from services.signing.keys.readiness import KeyCheck
from services.signing.publication.auditing import ChainLoop
from services.signing.publication.usecases import Publisher
from services.signing.upkeep.renewing import RenewLoop
from services.signing.upkeep.telling import SigningLook
from services.signing.upkeep.tidying import TidyLoop
from shared.auth.verifier import Verifier
from shared.bodies import BoundedBodies, OwnPagesOnly, own_origin
from shared.problems import install_problem_handlers, problem_answer
from shared.resources import Resources
from shared.service import Service


def create_service(resources: Resources) -> Service:
    """Return the signing service: publications and refreshes, and the routes of ceremonies and approvals."""
    publisher = Publisher(resources)
    return Service(
        name="signing",
        app=_api(resources),
        handlers=handlers(publisher),
        loops=(
            RefreshLoop(resources).run,
            ChainLoop(resources).run,
            RenewLoop(resources).run,
            TidyLoop(resources).run,
            SigningLook(resources).run,
        ),
        checks={"keys": KeyCheck(resources)},
    )


def _api(resources: Resources) -> FastAPI:
    app = FastAPI(title="Countermark signing", version="1", docs_url=None, redoc_url=None)
    verifier = Verifier(resources.directory, resources.clock)
    for routes in (EventRoutes(resources, verifier), ApprovalRoutes(resources, verifier)):
        app.include_router(routes.router)
    app.add_middleware(BoundedBodies)
    app.add_middleware(OwnPagesOnly, origin=own_origin(resources.settings))
    install_problem_handlers(app, problem_answer)
    return app
