"""What the S3 library reads of S3's interface, without the parts that nothing here looks at.

Its descriptions are written for every service and for people: the endpoints of four hundred services, and a manual. As
objects they weigh 11 MB in each process that has a store; without those, 1 MB.
Source: botocore, "Loaders" (`data_loader` is a component that a session may be given).
"""

from __future__ import annotations

from typing import Any

from aiobotocore.session import AioSession, get_session
from botocore.loaders import JSONFileLoader, Loader

_SERVICE = "s3"
_MANUAL = "documentation"


class _Lean(JSONFileLoader):
    """Reads the library's files, and keeps what is used of them."""

    def load_file(self, file_path: str) -> Any:
        """Return a file's content, None when there is no such file."""
        content = super().load_file(file_path)
        if isinstance(content, dict) and "partitions" in content:
            for partition in content["partitions"]:
                services = partition.get("services", {})
                partition["services"] = {name: services[name] for name in services.keys() & {_SERVICE}}
        return _without_manual(content)


def lean_session() -> AioSession:
    """Return a session of the library that reads its descriptions so."""
    session = get_session()
    session.register_component("data_loader", Loader(file_loader=_Lean()))
    return session


def _without_manual(value: Any) -> Any:
    # Plain dictionaries, which keep their order too and take half of the room. What reads rules wants the key.
    if isinstance(value, dict):
        return {key: "" if key == _MANUAL else _without_manual(below) for key, below in value.items()}
    return [_without_manual(below) for below in value] if isinstance(value, list) else value
