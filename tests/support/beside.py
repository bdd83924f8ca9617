"""Asks two servers the same and says where their answers differ, without what is theirs alone: hosts, times, tokens."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote, urljoin

import httpx2

JSON = {"accept": "application/json", "content-type": "application/json"}
"""What the devpi client sends with each call."""

_SHORT = 300
"""Bytes of a body that are compared as text; of longer ones the digest is."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request.

    Attributes:
        name: how tables call it; no two are called alike.
        path: `{result}` in it is where the newest test result lies.
        who: the account that asks, by the token of its last login; nobody when empty.
        basic: its credentials are sent as installers and uploaders do, not as the devpi client does.
        former: it asks by the token of its first login.
        credentials: a name and a password that are sent as they are, as installers and uploaders do.
        compares: headers of the answer that have to be equal too, beside those that always have to.
    """

    name: str
    method: str
    path: str
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: JSON)
    who: str = ""
    basic: bool = False
    former: bool = False
    credentials: tuple[str, str] | None = None
    compares: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Different:
    """One place in which two answers to the same request differ."""

    ask: str
    where: str
    theirs: str
    ours: str

    def __str__(self) -> str:
        """Return it as a line."""
        return f"{self.ask} | {self.where} | {self.theirs} | {self.ours}"


@dataclass(frozen=True, slots=True)
class Known:
    """A difference that is meant, with its reason; `ask`, `where`, `theirs` and `ours` may hold `*`."""

    ask: str
    where: str
    theirs: str
    ours: str
    why: str

    def covers(self, different: Different) -> bool:
        """Return whether a difference is this one."""
        pairs = (
            (different.ask, self.ask),
            (different.where, self.where),
            (different.theirs, self.theirs),
            (different.ours, self.ours),
        )
        return all(fnmatchcase(value, pattern.replace("[", "[[]")) for value, pattern in pairs)


@dataclass(slots=True)
class Side:
    """One of the two servers; keeps each account's newest and first token, and where the newest test result lies."""

    url: str
    tokens: dict[str, str] = field(default_factory=dict)
    former: dict[str, str] = field(default_factory=dict)
    result: str = ""

    def answer(self, ask: Ask) -> dict[str, Any]:
        """Send a request, and return what its answer says to everybody: place -> value.

        Redirects are not followed.
        """
        headers = {**ask.headers, **self._credentials(ask)}
        path = ask.path.replace("{result}", self.result)
        got = httpx2.request(ask.method, f"{self.url}{path}", content=ask.body, headers=headers, timeout=60)
        self._keep(ask, got)
        said: dict[str, Any] = {"status": got.status_code}
        for name in sorted({*ask.compares, *_headers_that_count(got)}):
            said[f"header {name}"] = self._plain(self._header(got, name))
        if got.is_redirect:
            return said
        said["type"] = got.headers.get("content-type", "").replace("UTF-8", "utf-8")
        if got.is_error:
            said["words"] = self._plain(words_of(got))
        elif ask.method != "HEAD":
            said.update(self._content(got))
        return said

    def _header(self, got: httpx2.Response, name: str) -> str:
        """Return a header; an address as the client understands it, however it is written."""
        value: str = got.headers.get(name, "")
        return unquote(urljoin(str(got.url), value)) if name == "location" and value else value

    def _credentials(self, ask: Ask) -> dict[str, str]:
        if not ask.who and ask.credentials is None:
            return {}
        known = self.former if ask.former else self.tokens
        user, secret = ask.credentials or (ask.who, known[ask.who])
        value = base64.b64encode(f"{user}:{secret}".encode()).decode()
        return {"authorization": f"Basic {value}"} if ask.basic or ask.credentials else {"x-devpi-auth": value}

    def _keep(self, ask: Ask, got: httpx2.Response) -> None:
        if got.status_code != httpx2.codes.OK or not got.content or "json" not in got.headers.get("content-type", ""):
            return
        document = got.json()
        kind = document.get("type") if isinstance(document, dict) else None
        if kind == "proxyauth" and ask.body is not None:
            self._renew(json.loads(ask.body)["user"], document["result"]["password"])
        elif kind == "userpassword":
            self._renew(ask.path.strip("/"), document["result"]["password"])
        elif kind == "toxresultpath":
            self.result = "/" + document["result"].partition("#")[0]

    def _renew(self, user: str, token: str) -> None:
        self.former.setdefault(user, token)
        self.tokens[user] = token

    def _content(self, got: httpx2.Response) -> dict[str, Any]:
        kind = got.headers.get("content-type", "").partition(";")[0]
        if kind in {"application/json", "application/vnd.pypi.simple.v1+json"} and got.content:
            return {"body": self._cleaned(_by_name(got.json()))}
        if kind == "text/html" and got.status_code == httpx2.codes.OK and "<a" in got.text:
            return {"links": self._cleaned(_keyed(links_of(got.text), "text"))}
        if len(got.content) > _SHORT or not got.content.isascii():
            return {"sha256": hashlib.sha256(got.content).hexdigest()}
        return {"text": self._plain(got.text)}

    def _cleaned(self, value: Any) -> Any:
        """Return a JSON value without what is this server's alone."""
        match value:
            case dict():
                return {self._plain(key): self._member(key, one) for key, one in value.items()}
            case list():
                return [self._cleaned(one) for one in value]
            case str():
                return self._plain(value)
        return value

    def _member(self, key: str, value: Any) -> Any:
        """Return a member of an object without what is this server's alone."""
        match key, value:
            case "when", [_, _, _, _, _, _]:
                return "TIME"
            case "+links", list():
                # In no order that anybody relies on.
                value = {link["href"].rpartition("/")[2]: link for link in value}
            case "password", _:
                return "TOKEN"
            case "uuid", str():
                return "UUID" if value else value
            case "port", int():
                return "PORT" if self.url.endswith(f":{value}") else value
            case _, float() if key.endswith(("-timestamp", "-sync-at")):
                return "TIME"
        return self._cleaned(value)

    def _plain(self, text: str) -> str:
        for token in filter(None, (*self.tokens.values(), *self.former.values())):
            text = text.replace(token, "TOKEN")
        text = text.replace(self.url, "http://HOST").replace(self.url.partition("//")[2], "HOST")
        text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME", text)
        text = re.sub(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", "TIME", text)
        text = re.sub(r"<devpi_server\.[\w.]+ object at 0x[0-9a-f]+>", "OBJECT", text)
        return re.sub(r"toxresult-\d{14}-\d+", "toxresult-TIME", text)


def _headers_that_count(got: httpx2.Response) -> Iterator[str]:
    """Yield the headers of an answer by which clients do one thing or another."""
    if got.is_redirect:
        yield "location"
    if got.status_code == httpx2.codes.UNAUTHORIZED:
        yield from ("www-authenticate", "location")
    if got.headers.get("content-type") == "application/json":
        yield "x-devpi-api-version"


def _by_name(document: Any) -> Any:
    """Return a simple page or list with its entries by name: devpi-server has them in no order of its own."""
    for entries, key in (("files", "filename"), ("projects", "name")):
        if isinstance(document, dict) and "meta" in document and isinstance(document.get(entries), list):
            document = {**document, entries: _keyed(document[entries], key)}
    return document


def _keyed(entries: list[dict[str, Any]], key: str) -> Any:
    """Return entries by one of their members; as they are, if two are called alike."""
    found = {entry[key]: entry for entry in entries}
    return found if len(found) == len(entries) else entries


def differing(ask: Ask, theirs: dict[str, Any], ours: dict[str, Any]) -> Iterator[Different]:
    """Yield the places in which two answers differ, down to the smallest part that does.

    Of answers with other statuses only those are compared, the words where both are errors, and where both lead.
    """
    if theirs["status"] == ours["status"]:
        yield from _within(ask, theirs, ours, "")
        return
    for place in ("status", "words", "header location"):
        if place in theirs and place in ours and theirs[place] != ours[place]:
            yield Different(ask.name, place, _shown(theirs[place]), _shown(ours[place]))


def _within(ask: Ask, theirs: Any, ours: Any, where: str) -> Iterator[Different]:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in sorted(theirs.keys() | ours.keys()):
            place = f"{where}.{key}" if where else key
            yield from _within(ask, theirs.get(key, _ABSENT), ours.get(key, _ABSENT), place)
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for number, (one, other) in enumerate(zip(theirs, ours, strict=True)):
            yield from _within(ask, one, other, f"{where}.{number}")
    elif theirs != ours:
        yield Different(ask.name, where, _shown(theirs), _shown(ours))


class _Absent:
    def __repr__(self) -> str:
        return "nothing"


_ABSENT = _Absent()


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, _Absent) else json.dumps(value, sort_keys=True)


def words_of(got: httpx2.Response) -> str:
    """Return what an error says, without the status in front, wherever it says it.

    That is the message of JSON, the text of plain text, the title of a page, or the last paragraph of devpi-web's.
    """
    said = got.text
    if said and "json" in got.headers.get("content-type", ""):
        document = got.json()
        said = str(document.get("message") or document.get("detail", ""))
    elif "html" in got.headers.get("content-type", ""):
        titles = re.findall(r"<title>(.*?)</title>", said, re.DOTALL)
        content = re.findall(r"<p>(.*?)</p>", said.partition('<div id="content">')[2], re.DOTALL)
        said = _Text.of((content or titles or [said])[-1])
    return re.sub(r"^\d{3} ", "", " ".join(said.split()))


def links_of(page: str) -> list[dict[str, str]]:
    """Return the links of a simple page: their attributes, and their text as `text`."""
    reader = _Links()
    reader.feed(page)
    return reader.found


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, str]] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a link."""
        if tag == "a":
            self._inside = True
            self.found.append({name: value or "" for name, value in attrs} | {"text": ""})

    def handle_endtag(self, tag: str) -> None:
        """End it."""
        if tag == "a":
            self._inside = False

    def handle_data(self, data: str) -> None:
        """Take its text."""
        if self._inside:
            self.found[-1]["text"] += data.strip()


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self._parts: list[str] = []

    def handle_data(self, data: str) -> None:
        """Take text."""
        self._parts.append(data)

    @classmethod
    def of(cls, text: str) -> str:
        """Return what is left of HTML without its tags."""
        reader = cls()
        reader.feed(text)
        reader.close()
        return "".join(reader._parts)
