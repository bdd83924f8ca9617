"""Operators find every setting in the book."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from shared.settings import Settings
from shared.settings_section import Section

OPERATING = Path(__file__).parents[3] / "docs" / "operating.md"


def names(section: type[Section], before: str = "") -> Iterator[str]:
    """Yield the dotted names of all settings."""
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from names(kind, f"{before}{name}.")
        else:
            yield before + name


def test_every_setting_is_named_in_the_table() -> None:
    """By itself, or with its whole section as `section.*`."""
    lines = OPERATING.read_text(encoding="utf-8").splitlines()
    cells = [line.split(" | ")[0] for line in lines if line.startswith("| `")]
    text = " ".join(cells)
    found = list(names(Settings))
    assert "database.pool" in found
    missing = [name for name in found if f"`{name}`" not in text and f"`{name.partition('.')[0]}.*`" not in text]
    assert missing == []
