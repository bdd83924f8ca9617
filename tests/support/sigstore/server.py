"""The instance as an application: its services, its identity provider, and its trust files as targets.

Source: trust contract section 5.3 (a).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.support.sigstore.answering import Refused, refusal
from tests.support.sigstore.documents import (
    CLIENT_TRUST_CONFIG,
    SIGNING_CONFIG,
    TRUSTED_ROOT,
    client_trust_config,
    signing_config,
)
from tests.support.sigstore.identity import IdentityProvider
from tests.support.sigstore.instance import Instance
from tests.support.sigstore.services import Services
from tests.support.sigstore.targets import repository

TUF_ROOT = "root.json"
"""The file that `sigstore trust-instance` wants."""


@dataclass(frozen=True, slots=True)
class Built:
    """An instance for one address.

    Attributes:
        files: what its users need: file name -> content.
    """

    app: Starlette
    files: Mapping[str, bytes]


def build(instance: Instance, url: str, logs: Collection[int] = (1, 2), *, company: bool = False) -> Built:
    """Build the application.

    Args:
        url: where it will be, without a slash at the end.
        logs: versions of the transparency logs that its users are told of.
        company: whether it is a company's authority: no CT log, no transparency log, time stamps alone.
    """
    trusted = instance.company_root() if company else instance.trusted_root()
    told = {TRUSTED_ROOT: trusted, SIGNING_CONFIG: signing_config(url, () if company else logs)}
    held = repository(told)
    files = told | {
        CLIENT_TRUST_CONFIG: client_trust_config(trusted, told[SIGNING_CONFIG]),
        TUF_ROOT: held["1.root.json"],
    }
    served = held | {f"trust/{name}": content for name, content in files.items()}

    async def file(request: Request) -> Response:
        content = served.get(request.path_params["path"])
        if content is None:
            raise Refused("there is nothing here", 404)
        return Response(content, media_type="application/json")

    routes = [
        *IdentityProvider(url, instance.provider).routes(),
        *Services(instance, instance.company if company else instance.authority).routes(),
        Route("/{path:path}", file),
    ]
    return Built(Starlette(routes=routes, exception_handlers={Refused: refusal}), files)
