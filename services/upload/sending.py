"""A form on its way: where it was sent, by whom, and how."""

from __future__ import annotations

from dataclasses import dataclass

from countermark.core.names import NormalizedName
from shared.auth.access import require, require_some_project
from shared.auth.directory import IndexRecord
from shared.auth.principal import Principal, Verb
from shared.errors import ErrorKind, ServiceError


@dataclass(frozen=True, slots=True)
class Sent:
    """A form that arrives.

    Attributes:
        on_index: whether it was sent to the index's own URL, and not to the host's upload URL.
        devpi: whether by the devpi client, which sends no digests and has words of its own.
    """

    index: IndexRecord
    principal: Principal
    on_index: bool = True
    devpi: bool = False

    def permit(self, project: NormalizedName | None = None) -> None:
        """Return when its sender may upload to a project; None stands for any, before the body is read.

        Raises:
            ServiceError: forbidden or unauthenticated. The devpi client is told in devpi's words, others what is
                missing.
        """
        try:
            if project is None:
                require_some_project(self.principal, Verb.UPLOAD, self.index)
            else:
                require(self.principal, Verb.UPLOAD, self.index, project)
        except ServiceError as error:
            if self.devpi and error.kind is ErrorKind.FORBIDDEN:
                raise ServiceError(ErrorKind.FORBIDDEN, "no permission to submit") from error
            raise
