"""What is attacked."""

from __future__ import annotations

INDEX, OTHER = "root/attacked", "root/mallory"
WHEEL, OLDER, GADGET = "widget-1.10-py3-none-any.whl", "widget-1.9-py3-none-any.whl", "gadget-1.10-py3-none-any.whl"
WIDGET = f"pointers/widget/{WHEEL}.pointer"
PAGE, LATEST = "pointers/widget/_simple.json", "pointers/widget/_latest.pointer"
