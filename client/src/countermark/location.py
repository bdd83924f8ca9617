"""Where things lie, worked out from what people write after `--repository`.

Two shapes, both named after the index:

- an index URL, `https://host/{owner}/{index}` (also with `/+simple/` behind it): metadata and targets lie below
  `+tuf/`;
- a static tree, `.../indexes/{owner}/{index}` (also with `/simple/` behind it), over http(s), as a `file://` URL or as
  a plain path: metadata and targets lie in it, files beside `indexes/`.

Source: architecture sections 3, 6 and 11.4.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote, urlsplit

from countermark.core.errors import UsageFault
from countermark.core.names import FileName, IndexName, InvalidName, NormalizedName, parse_index_name

_HTTP = frozenset({"http", "https"})
_DEFAULT_PORTS = {"http": 80, "https": 443}
_FACES = frozenset({"+simple", "simple"})
_FORMS = "Write an index URL (https://host/owner/index) or a static tree (.../indexes/owner/index)."


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port of a URL: credentials given for one origin are never sent to another."""

    scheme: str
    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether it can only be this machine."""
        if self.host == "localhost" or self.host.endswith(".localhost"):
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class Location:
    """One index and the URLs it is read from; no URL here holds credentials or ends in a slash.

    Attributes:
        url: the index, in canonical form; the key of its cache.
        deployment: what stands in front of the index; all stage indexes below it share one root, so roots are pinned
            for it.
        artifact_base: what a pointer's `uri` is appended to.
    """

    index: IndexName
    url: str
    deployment: str
    metadata_url: str
    targets_url: str
    artifact_base: str

    @property
    def is_tree(self) -> bool:
        """Whether it is a static tree, which nobody answers for."""
        return self.artifact_base == self.deployment

    def beside(self, index: IndexName) -> Location:
        """Return where another index of the same deployment lies: same origin, same path in front, same shape."""
        return _located(index, self.deployment, is_tree=self.is_tree)

    @property
    def is_loopback(self) -> bool:
        """Whether a server on this machine answers for it."""
        parts = urlsplit(self.url)
        return parts.scheme in _HTTP and origin_of(parts).is_loopback

    def artifact_url(self, uri: str) -> str:
        """Return the URL of a pointer's `uri`, each segment percent-encoded (`+` becomes `%2B`).

        Source: trust contract section 3.2 ("it is the plain object key").
        """
        return self.artifact_base + "/".join(quote(segment, safe="~") for segment in uri.split("/"))

    def attested_url(self, project: NormalizedName, file_name: FileName, ending: str) -> str:
        """Return the URL of a document about a file's attestations, beside `metadata/` and `targets/`.

        Args:
            ending: what follows the file's name in that of the document.
        """
        tree = self.metadata_url.rpartition("/")[0]
        return f"{tree}/attestations/{project}/{quote(file_name, safe='~')}{ending}"


def parse_location(text: str) -> Location:
    """Return where the index named by a URL or path lies; credentials in the URL are dropped.

    Raises:
        UsageFault: it is neither an index URL nor a static tree.
    """
    parts = parse_url(text)
    segments = [unquote(segment) for segment in parts.path.split("/") if segment]
    if len(segments) >= 3 and segments[-1] in _FACES:
        segments.pop()
    if len(segments) < 2:
        raise UsageFault(f"{_shown(parts)} does not name an index", _FORMS)
    try:
        index = parse_index_name("/".join(segments[-2:]))
    except InvalidName as error:
        raise UsageFault(f"{_shown(parts)} does not name an index: {error}", _FORMS) from error
    is_tree = len(segments) >= 3 and segments[-3] == "indexes"
    if parts.scheme == "file" and not is_tree:
        raise UsageFault(
            f"{_shown(parts)} is not a static tree",
            "A folder must end in indexes/owner/index, as the registry lays it.",
        )
    in_front = segments[: -3 if is_tree else -2]
    base = _root(parts) + "".join("/" + quote(segment, safe="~+@:!$&'()*,;=") for segment in in_front)
    return _located(index, base, is_tree=is_tree)


def parse_url(text: str) -> SplitResult:
    """Return the parts of an http(s) or file URL; a plain path becomes a file URL.

    Raises:
        UsageFault: another scheme, no host, a query or a fragment, control characters, or a path with dots.
    """
    # A path may hold spaces, a URL may not; neither holds what could end a line of a request or a message.
    forbidden = 32 if "://" in text else 31
    if not text or any(ord(character) <= forbidden or ord(character) == 127 for character in text):
        raise UsageFault("an empty address, or one with spaces or control characters, is none", _FORMS)
    try:
        parts = urlsplit(text if "://" in text else Path(text).expanduser().absolute().as_uri())
        _ = parts.port
    except (ValueError, RuntimeError) as error:
        raise UsageFault(f"not a URL or path: {error}", _FORMS) from error
    if parts.scheme not in _HTTP | {"file"}:
        raise UsageFault(f"cannot read {parts.scheme}:// addresses", "Use http, https, file or a path.")
    if parts.scheme in _HTTP and not parts.hostname:
        raise UsageFault("the URL names no host", _FORMS)
    if parts.scheme == "file" and parts.netloc not in {"", "localhost"}:
        raise UsageFault("a file URL must be of this machine", "Write it as file:///path.")
    if parts.query or parts.fragment:
        raise UsageFault("a repository URL has no '?' and no '#'", _FORMS)
    if any(unquote(segment) in {".", ".."} or "/" in unquote(segment) for segment in parts.path.split("/")):
        raise UsageFault("the path must not hold '.' or '..' segments", _FORMS)
    return parts


def origin_of(url: str | SplitResult) -> Origin:
    """Return the origin of an http(s) URL.

    Raises:
        ValueError: it has no host, or a port that is none.
    """
    parts = urlsplit(url) if isinstance(url, str) else url
    if not parts.hostname:
        raise ValueError("the URL names no host")
    return Origin(parts.scheme, parts.hostname.lower(), parts.port or _DEFAULT_PORTS.get(parts.scheme, 0))


def _located(index: IndexName, base: str, *, is_tree: bool) -> Location:
    url = f"{base}/indexes/{index}" if is_tree else f"{base}/{index}"
    tuf = url if is_tree else f"{url}/+tuf"
    return Location(
        index=index,
        url=url,
        deployment=base,
        metadata_url=f"{tuf}/metadata",
        targets_url=f"{tuf}/targets",
        artifact_base=base if is_tree else tuf,
    )


def _root(parts: SplitResult) -> str:
    if parts.scheme == "file":
        return "file://"
    origin = origin_of(parts)
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    default = origin.port == _DEFAULT_PORTS[origin.scheme]
    return f"{origin.scheme}://{host}" + ("" if default else f":{origin.port}")


def _shown(parts: SplitResult) -> str:
    """Return the URL without credentials, for messages."""
    return _root(parts) + parts.path
