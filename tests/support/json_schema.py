"""As much of JSON Schema 2020-12 as our schemas use; a keyword that it does not know is an error, never ignored."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

_TYPES: Mapping[str, type | tuple[type, ...]] = {"object": dict, "array": list, "string": str, "boolean": bool}
_SAID = {"$schema", "$defs", "title", "description", "then", "else"}


def faults(schema: Any, value: Any, root: Any = None, where: str = "$") -> list[str]:
    """Return what is wrong with a value, empty for nothing."""
    root = schema if root is None else root
    if schema is False:
        return [f"{where}: not allowed here"]
    found: list[str] = []
    for keyword, wanted in schema.items():
        if keyword in _SAID:
            continue
        found += _CHECKS[keyword](schema, wanted, value, root, where)
    return found


def _type(_schema: Any, wanted: str, value: Any, _root: Any, where: str) -> list[str]:
    fits = type(value) is int if wanted == "integer" else isinstance(value, _TYPES[wanted])
    return [] if fits else [f"{where}: no {wanted}"]


def _ref(_schema: Any, wanted: str, value: Any, root: Any, where: str) -> list[str]:
    return faults(root["$defs"][wanted.removeprefix("#/$defs/")], value, root, where)


def _properties(_schema: Any, wanted: Any, value: Any, root: Any, where: str) -> list[str]:
    inside = [key for key in wanted if isinstance(value, dict) and key in value]
    return [one for key in inside for one in faults(wanted[key], value[key], root, f"{where}.{key}")]


def _additional(schema: Any, wanted: Any, value: Any, root: Any, where: str) -> list[str]:
    others = value.keys() - schema.get("properties", {}).keys() if isinstance(value, dict) else ()
    return [one for key in others for one in faults(wanted, value[key], root, f"{where}.{key}")]


def _items(_schema: Any, wanted: Any, value: Any, root: Any, where: str) -> list[str]:
    entries = enumerate(value) if isinstance(value, list) else ()
    return [one for number, entry in entries for one in faults(wanted, entry, root, f"{where}[{number}]")]


def _names(_schema: Any, wanted: Any, value: Any, root: Any, where: str) -> list[str]:
    return [one for key in (value if isinstance(value, dict) else ()) for one in faults(wanted, key, root, where)]


def _one_of(_schema: Any, wanted: Any, value: Any, root: Any, where: str) -> list[str]:
    fitting = sum(not faults(one, value, root, where) for one in wanted)
    return [] if fitting == 1 else [f"{where}: fits {fitting} of the forms"]


def _if(schema: Any, wanted: Any, value: Any, root: Any, where: str) -> list[str]:
    branch = "else" if faults(wanted, value, root, where) else "then"
    return faults(schema.get(branch, {}), value, root, where)


def _required(_schema: Any, wanted: Any, value: Any, _root: Any, where: str) -> list[str]:
    return [f"{where}: {key} is missing" for key in wanted if isinstance(value, dict) and key not in value]


def _simple(fits: Callable[[Any, Any], bool], kind: type) -> Callable[..., list[str]]:
    def check(_schema: Any, wanted: Any, value: Any, _root: Any, where: str) -> list[str]:
        return [] if not isinstance(value, kind) or fits(wanted, value) else [f"{where}: not {wanted!r}"]

    return check


def _unique(wanted: Any, value: list[Any]) -> bool:
    return not wanted or len(set(map(repr, value))) == len(value)


_CHECKS: Mapping[str, Callable[..., list[str]]] = {
    "type": _type,
    "$ref": _ref,
    "properties": _properties,
    "additionalProperties": _additional,
    "propertyNames": _names,
    "items": _items,
    "required": _required,
    "oneOf": _one_of,
    "if": _if,
    "const": _simple(lambda wanted, value: type(wanted) is type(value) and wanted == value, object),
    "enum": _simple(lambda wanted, value: value in wanted, object),
    # Python's `$` takes a last line break, that of the specification does not.
    "pattern": _simple(lambda wanted, value: re.search(re.sub(r"\$\Z", r"\\Z", wanted), value) is not None, str),
    "minLength": _simple(lambda wanted, value: len(value) >= wanted, str),
    "maxLength": _simple(lambda wanted, value: len(value) <= wanted, str),
    "minimum": _simple(lambda wanted, value: value >= wanted, int),
    "maximum": _simple(lambda wanted, value: value <= wanted, int),
    "minItems": _simple(lambda wanted, value: len(value) >= wanted, list),
    "maxItems": _simple(lambda wanted, value: len(value) <= wanted, list),
    "uniqueItems": _simple(_unique, list),
    "maxProperties": _simple(lambda wanted, value: len(value) <= wanted, dict),
}
