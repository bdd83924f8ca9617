"""What a file says of itself: read from the file where the index is strict, else from the form that came with it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import structlog

from services.upload import devpi_rules, rules
from services.upload.form import ReceivedForm
from shared.catalogue.releases import STRICT
from shared.errors import ErrorKind, ServiceError
from shared.formats.interface import Coordinates, Inspected, InvalidFile
from shared.formats.registry import FORMATS
from shared.resources import Resources

log = structlog.get_logger()

_AT_ONCE = 2
"""Files inspected at the same time: inspection is CPU work in threads."""


class Inspector:
    """Inspects files that arrived, some at a time."""

    def __init__(self, resources: Resources) -> None:
        self._scan_wanted = resources.settings.uploads.scan
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def inspect(self, admission: str, form: ReceivedForm, coordinates: Coordinates) -> Inspected:
        """Return what is said of a file; its warnings are for its uploader.

        Args:
            admission: of the index: `strict` reads the file and compares it with the form, `devpi` takes the form's
                word and does not look into the file.

        Raises:
            ServiceError: INVALID, with every fault.
        """
        if admission != STRICT:
            try:
                requires_python = devpi_rules.requires_python_in(form.fields)
            except InvalidFile as error:
                raise ServiceError(ErrorKind.INVALID, sentences("", error.issues)) from error
            return Inspected(b"", False, devpi_rules.metadata_in(form.fields), requires_python)
        inspected = await self._read(form, coordinates)
        findings = await self._scan(form, coordinates)
        return replace(inspected, warnings=(*findings, *inspected.warnings))

    async def _read(self, form: ReceivedForm, coordinates: Coordinates) -> Inspected:
        async with self._turns:
            try:
                inspected = await asyncio.to_thread(FORMATS[coordinates.format].inspect, form.path, coordinates)
            except InvalidFile as error:
                raise ServiceError(ErrorKind.INVALID, sentences(f"{coordinates.file_name}:", error.issues)) from error
            # Ten thousand requirements take a fifth of a second to parse.
            faults = await asyncio.to_thread(rules.metadata_faults, form.fields, inspected)
        if faults:
            raise ServiceError(ErrorKind.INVALID, sentences("", faults))
        return inspected

    async def _scan(self, form: ReceivedForm, coordinates: Coordinates) -> tuple[str, ...]:
        """Look for hidden code; what is found is advice, unless the operator refuses it."""
        wanted = self._scan_wanted
        if wanted == "off":
            return ()
        async with self._turns:
            found = await asyncio.to_thread(FORMATS[coordinates.format].scan, form.path, coordinates)
        if found:
            log.warning(
                "upload_scanned", file_name=coordinates.file_name, findings=len(found), refused=wanted == "refuse"
            )
        if found and wanted == "refuse":
            raise ServiceError(ErrorKind.INVALID, sentences(f"{coordinates.file_name}:", found))
        return found


def sentences(head: str, faults: Sequence[str]) -> str:
    """Join faults into lines, the most telling first, as ASCII."""
    text = "\n".join(faults) if not head else f"{head} {faults[0]}" + "".join(f"\n{fault}" for fault in faults[1:])
    return text.encode("ascii", "backslashreplace").decode("ascii")
