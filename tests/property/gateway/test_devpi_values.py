"""Whatever is sent as an index's configuration: a configuration, or one short sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from countermark.core.names import IndexName, parse_index_name
from gateway.devpi.operations import applied
from gateway.devpi.values import Config, InvalidConfig, changed_config, new_config, stage_defaults

OPTIONS = st.sampled_from([*stage_defaults("a", "b"), "title", "description", "custom_data", "mirror_url", "projects"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("root/stable,alice"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
DOCUMENTS = st.dictionaries(OPTIONS | st.text(max_size=8), VALUES, max_size=6)
SIGNS = st.sampled_from(["=", "+=", "-=", ""])
OPERATIONS = st.lists(
    st.builds("{}{}{}".format, OPTIONS | st.text(max_size=5), SIGNS, st.text(max_size=10)), max_size=6
)


def _find(name: IndexName) -> str | None:
    return None if name.owner == "root" else f"no {name}"


def _tried(read: Callable[[], Config]) -> tuple[Config | None, str]:
    """Return a configuration, or why there is none."""
    try:
        return read(), ""
    except InvalidConfig as error:
        return None, str(error)


def _holds(config: dict[str, Any]) -> None:
    """Look at what every configuration of a stage has."""
    assert config["type"] == "stage"
    assert isinstance(config["volatile"], bool)
    for option in ("bases", "acl_upload", "acl_toxresult_upload", "mirror_whitelist"):
        assert all(isinstance(item, str) and "\0" not in item for item in config[option])
    assert all(parse_index_name(base).owner == "root" for base in config["bases"])
    assert config["mirror_whitelist_inheritance"] in {"intersection", "union"}


@given(DOCUMENTS)
def test_any_document_is_a_configuration_or_a_sentence(document: dict[str, Any]) -> None:
    """What was taken can be given again and changes nothing."""
    config, words = _tried(lambda: new_config({**document, "type": "stage"}, "alice", ":AUTHENTICATED:", _find))
    if config is None:
        assert 0 < len(words) < 2500
    else:
        _holds(config)
        assert changed_config(config, config, _find) == config


@given(OPERATIONS)
def test_any_operations_leave_a_configuration_or_a_sentence(operations: list[str]) -> None:
    """The configuration of before is never touched."""
    before = stage_defaults("alice", ":AUTHENTICATED:")
    after, words = _tried(lambda: changed_config(before, applied(operations, before), _find))
    if after is None:
        assert 0 < len(words) < 2500
    else:
        _holds(after)
    assert before == stage_defaults("alice", ":AUTHENTICATED:")


@given(st.text("abc/", min_size=1, max_size=5))
def test_adding_and_taking_away_is_nothing(value: str) -> None:
    """`k+=v` and `k-=v` undo each other, for a value that was not there."""
    before = stage_defaults("alice", ":AUTHENTICATED:")
    assert applied([f"acl_upload+={value}", f"acl_upload-={value}"], before) == before
