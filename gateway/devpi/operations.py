"""The list of operations by which the devpi client changes an index: `k=v`, `k+=v`, `k-=v`, `k-=`. Pure.

Source: contract devpi section 6 (PATCH).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.devpi.values import REMOVED, Config, InvalidConfig

MOST_OPERATIONS = 1_000
"""Operations of one change."""


def applied(operations: Sequence[object], current: Config) -> dict[str, Any]:
    """Return what an index would have after some operations in their order, not checked yet; see `changed_config`.

    `=` sets (the value goes to the end and may hold more of them), `+=` appends what is not there yet, `-=v` takes a
    value away, `-=` alone the whole option. Without any sign an option is set to nothing.

    Raises:
        InvalidConfig: one cannot be done.
    """
    if len(operations) > MOST_OPERATIONS:
        raise InvalidConfig(f"one change has at most {MOST_OPERATIONS} operations")
    config: dict[str, Any] = {option: list(v) if isinstance(v, list) else v for option, v in current.items()}
    for operation in operations:
        if not isinstance(operation, str):
            raise InvalidConfig(f"{operation!r:.60} is no operation: write k=v, k+=v, k-=v or k-=")
        _apply(operation, config)
    return config


def _apply(operation: str, config: dict[str, Any]) -> None:
    option, _, value = operation.partition("=")
    sign = option[-1:]
    if sign not in ("+", "-"):
        config[option] = value
        return
    option = option[:-1]
    if sign == "-" and not value:
        # What is not there needs no removal; whether it may be removed is for the check of the whole to say.
        config[option] = REMOVED
        return
    values = config.get(option)
    if not isinstance(values, list):
        raise InvalidConfig(f"The '{option:.60}' setting is no list: set it with {option:.60}=VALUE")
    if sign == "+":
        if value not in values:
            values.append(value)
    elif value in values:
        values.remove(value)
    else:
        raise InvalidConfig(f"The '{option}' setting doesn't have value '{value:.200}'")
