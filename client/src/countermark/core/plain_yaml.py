"""YAML with one meaning: one document of mappings, lists and text, and nothing else of the language. Pure.

Scalars stay the text that was written (`1.10` stays "1.10", `no` stays "no"); what reads a document says what each is.
Source: trust contract section 3.2 (the pointer's parsing rules), section 4 (policies have the same).
"""

from __future__ import annotations

import re
from typing import TypeAlias

import yaml

Plain: TypeAlias = "str | list[Plain] | dict[str, Plain]"
"""What a document is made of."""

_OPENING = (
    yaml.BlockSequenceStartToken,
    yaml.BlockMappingStartToken,
    yaml.FlowSequenceStartToken,
    yaml.FlowMappingStartToken,
)
_CLOSING = (yaml.BlockEndToken, yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken)
_NUMBER_1_2 = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z|0o[0-7]+\Z")
"""Numbers of YAML 1.2 (its core schema); some of them are text in 1.1."""

_TEXT = "tag:yaml.org,2002:str"
_REFUSED = (yaml.AnchorToken, yaml.AliasToken, yaml.TagToken, yaml.DirectiveToken)


class Ambiguous(str):
    """Text without quotes that readers which follow YAML's own rules take for a number, a date, a truth or nothing.

    Whoever reads a document decides whether that matters.
    """

    __slots__ = ()


class NotPlain(ValueError):
    """The bytes are no such document; the message says why, and in which line where that is known."""


def read_plain(data: bytes, max_bytes: int, max_depth: int) -> Plain:
    """Read the one document that the bytes are.

    Args:
        data: UTF-8.
        max_bytes: the longest document that is looked at.
        max_depth: levels below the root, keys of a mapping being one further down.

    Raises:
        NotPlain: size, encoding, syntax, nesting, an anchor, alias, tag or directive, several documents, a key that
            comes twice or is no text, or nothing at all.
    """
    if len(data) > max_bytes:
        raise NotPlain(f"longer than {max_bytes} bytes")
    try:
        text = data.decode("utf-8")
        _check_tokens(text, max_depth)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        raise NotPlain("not UTF-8") from error
    except yaml.MarkedYAMLError as error:
        raise NotPlain(f"not YAML: {error.problem or type(error).__name__}{_line(error.problem_mark)}") from error
    # The library's own slips over hostile text are refusals too: a number that is no code point, for one.
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        if isinstance(error, NotPlain):
            raise
        raise NotPlain(f"not YAML: {type(error).__name__}") from error
    return _plain(node, 0, max_depth)


def _check_tokens(text: str, max_depth: int) -> None:
    """Refuse what is not plain before anything is built of it."""
    depth = 0
    for token in yaml.scan(text, Loader=yaml.SafeLoader):
        if isinstance(token, _REFUSED):
            raise NotPlain(f"anchors, aliases, tags and directives are not allowed{_line(token.start_mark)}")
        depth += isinstance(token, _OPENING)
        depth -= isinstance(token, _CLOSING)
        if depth > max_depth + 1:
            raise NotPlain(f"nested too deeply{_line(token.start_mark)}")


def _plain(node: yaml.Node | None, depth: int, max_depth: int) -> Plain:
    if node is None:
        raise NotPlain("empty document")
    if depth > max_depth:
        raise NotPlain(f"nested too deeply{_line(node.start_mark)}")
    if isinstance(node, yaml.ScalarNode):
        return Ambiguous(node.value) if _is_ambiguous(node) else str(node.value)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(child, depth + 1, max_depth) for child in node.value]
    fields: dict[str, Plain] = {}
    for key_node, value_node in node.value:
        key = _plain(key_node, depth + 1, max_depth)
        if not isinstance(key, str) or key in fields:
            raise NotPlain(f"duplicate or non-text key {str(key)[:50]!r}{_line(key_node.start_mark)}")
        fields[key] = _plain(value_node, depth + 1, max_depth)
    return fields


def _is_ambiguous(node: yaml.ScalarNode) -> bool:
    """Return whether a scalar is no text to readers of YAML 1.1, as this library is one, or of YAML 1.2."""
    return node.tag != _TEXT or (node.style is None and _NUMBER_1_2.match(node.value) is not None)


def _line(mark: yaml.Mark | None) -> str:
    return "" if mark is None else f" (line {mark.line + 1})"
