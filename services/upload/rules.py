"""The checks of an upload that need nothing but its form and what its file says. Pure; every fault is reported at once.

Source: contract python-index sections 2.1, 2.3 and 2.5; contract devpi sections 9 and 23.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from shared.errors import ErrorKind, ServiceError
from shared.formats.interface import Coordinates, Inspected

Fields = Mapping[str, Sequence[str]]
"""The text fields of the form: name -> values in order."""

_GONE = frozenset({"submit", "submit_pkg_info", "doc_upload"})
_STANDARD_LIBRARY = frozenset(name.lower() for name in sys.stdlib_module_names)
_MAX_PARSED = 8192
"""Characters of a value that is parsed, as in the file's own metadata: a megabyte of specifiers takes seconds."""
_DIGESTS = {"sha256_digest": "sha256", "blake2_256_digest": "blake2b-256", "md5_digest": "md5"}


def value_of(fields: Fields, name: str) -> str | None:
    """Return a field's first value; empty and `UNKNOWN` count as absent, as old tools mean them."""
    values = fields.get(name, ())
    return values[0].strip() if values and values[0].strip() not in {"", "UNKNOWN"} else None


class Action(StrEnum):
    """What a form asks for."""

    FILE_UPLOAD = "file_upload"
    SUBMIT = "submit"
    DOC_UPLOAD = "doc_upload"


_ACTIONS = {action.value: action for action in Action}


def action_of(fields: Fields, *, on_index: bool) -> Action:
    """Return what a form asks for.

    Args:
        on_index: whether it was sent to an index's own URL, where devpi's actions are served.

    Raises:
        ServiceError: gone, for what upload URLs once did; invalid for anything else.
    """
    given = value_of(fields, ":action")
    if given is None:
        raise ServiceError(ErrorKind.INVALID, ":action field not found: send it with the value file_upload.")
    action = _ACTIONS.get(given)
    if given in _GONE and (action is None or not on_index):
        words = f"The action {given} is not served here: upload files with :action = file_upload."
        raise ServiceError(ErrorKind.GONE, words)
    if action is None:
        raise ServiceError(ErrorKind.INVALID, f"action {given[:100]!a} not supported")
    return action


def form_faults(fields: Fields, *, strict: bool = True, digests: bool = True) -> list[str]:
    """Return what is wrong with the form of a file, one sentence each.

    Args:
        strict: whether it must say all that upload tools say; what admission `devpi` needs it looks for itself.
        digests: whether it must have one; the devpi client sends none.
    """
    faults = []
    if value_of(fields, "protocol_version") not in {None, "1"}:
        faults.append("The field protocol_version must be 1.")
    wanted = ("metadata_version", "name", "version", "filetype") if strict else ()
    missing = [name for name in wanted if value_of(fields, name) is None]
    if missing:
        faults.append(f"Fields are missing: {', '.join(missing)}.")
    if digests and all(value_of(fields, name) is None for name in _DIGESTS):
        faults.append(f"One digest at least is needed: {', '.join(_DIGESTS)}.")
    return faults


def digest_faults(fields: Fields, computed: Mapping[str, str]) -> list[str]:
    """Return one sentence for each digest in the form that is not the digest of the bytes that arrived.

    Args:
        computed: form field name -> the hexadecimal digest of what arrived.
    """
    faults = []
    for name, algorithm in _DIGESTS.items():
        given = value_of(fields, name)
        if given is not None and given.lower() != computed[name]:
            faults.append(f"The {algorithm} digest {given[:64]} is not that of the bytes received, {computed[name]}.")
    return faults


def identity_faults(fields: Fields, coordinates: Coordinates) -> list[str]:
    """Return where the form and the file's name disagree about kind, project or version."""
    faults = []
    kind = value_of(fields, "filetype")
    if kind is not None and kind != coordinates.package_type:
        faults.append(f"The field filetype is {kind[:40]}, the file name is that of a {coordinates.package_type}.")
    name = value_of(fields, "name")
    if name is not None and canonicalize_name(name) != coordinates.project:
        faults.append(f"The field name is {name[:100]}, the file name is of project {coordinates.project}.")
    version = value_of(fields, "version")
    if version is not None and _version(version) != Version(coordinates.version):
        faults.append(f"The field version is {version[:100]}, the file name is of version {coordinates.version}.")
    return faults


def metadata_faults(fields: Fields, inspected: Inspected) -> list[str]:
    """Return where the form contradicts the file's own metadata; what the form leaves out is no contradiction.

    The file is the only truth: the public index never compares them (contract section 2.5 row 1).
    """
    faults = []
    given = value_of(fields, "requires_python")
    wanted = [value for value in fields.get("requires_dist", ()) if value.strip()]
    for name, values in (("requires_python", (given or "",)), ("requires_dist", wanted)):
        if any(len(value) > _MAX_PARSED for value in values):
            faults.append(f"The field {name} is longer than {_MAX_PARSED} characters.")
    if faults:
        return faults
    if given is not None and not _same_specifiers(given, inspected.requires_python or ""):
        stated = inspected.requires_python or "nothing"
        faults.append(f"The field requires_python is {given[:100]}, the file's metadata say {stated[:100]}.")
    if wanted and _requirements(wanted) != _requirements(inspected.fields.get("requires_dist") or ()):
        faults.append("The field requires_dist differs from the requirements in the file's metadata.")
    return faults


def name_warnings(project: NormalizedName, confusable: str | None) -> list[str]:
    """Return what the first uploader of a project should know of its name.

    Args:
        confusable: a project of the index whose name looks like this one.
    """
    warnings = []
    if project.replace("-", "_") in _STANDARD_LIBRARY:
        warnings.append(f"{project} is the name of a module of Python's standard library.")
    if confusable is not None:
        warnings.append(f"The name {project} looks like that of the project {confusable}, which is there already.")
    return warnings


def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except ValueError:  # `InvalidVersion`, or a number of more digits than Python converts.
        return None


def _same_specifiers(one: str, other: str) -> bool:
    try:
        return SpecifierSet(one) == SpecifierSet(other)
    except ValueError:  # `InvalidSpecifier`, or a number of more digits than Python converts.
        return one.strip() == other.strip()


def _requirements(texts: Sequence[str]) -> set[str]:
    parsed = set()
    for text in texts:
        try:
            requirement = Requirement(text)
            requirement.name = canonicalize_name(requirement.name)
            parsed.add(str(requirement))
        except (ValueError, RecursionError):  # `InvalidRequirement`, huge numbers, brackets a thousand deep.
            parsed.add(text.strip())
    return parsed
