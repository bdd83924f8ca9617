"""Where our answers differ from a devpi-server's, and why; `docs/reference/devpi.md` has the same table."""

from __future__ import annotations

from tests.support.beside import Known

_HTML, _PLAIN = '"text/html; charset=utf-8"', '"text/plain; charset=utf-8"'
_DENIED = '"Access was denied to this resource. Unauthorized: PyPIView failed permission check"'

KNOWN = (
    # Addresses.
    Known("* with a slash", "status", "302", "200", "served at once"),
    Known("discover with a slash", "status", "302", "404", "no client asks so, and the redirect leads there only"),
    Known("* without a slash", "status", "302", "301", "for everybody and for good"),
    Known("pages by another spelling", "status", "302", "301", "for everybody and for good"),
    Known("the list for pip at the index", "status", "200", "302", "a page has one address; pip and uv follow"),
    Known("a page for pip at the project", "status", "200", "302", "a page has one address; pip and uv follow"),
    # What is told of the server and its accounts.
    Known("the server's state", "body.result.server*", "*", "nothing", "folders of the machine are nobody's business"),
    Known("the server's state", "body.result.*serial", "*", "*", "counts what was changed here: grows, and may skip"),
    Known("the server's state", "body.result.metrics", "*", "*", "each process tells its own at `/metrics`"),
    Known("the server's state", "body.result.versioninfo.*", "*", "nothing", "there is no plugin"),
    Known("all accounts", "body.result.root.indexes.stable", "nothing", "*", "the index that every deployment has"),
    # What is refused, and how that is said.
    Known("*", "status", "500", "400", "what is wrong with the request is said"),
    Known("*", "words", '"Internal Server Error *"', "*", "what is wrong with the request is said"),
    Known("*", "words", _DENIED, "*", "names the right that is missing"),
    Known("change *", "words", '"no permission to modify user OBJECT"', '"* user alice"', "names the account"),
    Known("*", "type", _HTML, '"application/json"', "the devpi client prints this; a reason phrase cannot be set"),
    Known("*", "type", _HTML, _PLAIN, "words are plain text, which `uv` and `twine` print"),
    Known("*", "type", _HTML, '""', "an empty answer has no type"),
    Known(
        "a file *", "type", _HTML, '"application/problem+json"', "problem documents, as everywhere beside devpi's API"
    ),
    Known("upload anonymously", "*", "*", "*", "other words, and a realm of our own"),
    Known("* unknown index", "words", '"The stage *"', '"There is no index *"', "our words, outside devpi's documents"),
    Known("a page without bases", "words", "*", '"There is no project *"', "our words, outside devpi's documents"),
    Known("pages of nothing", "words", "*", '"There is no project *"', "our words, outside devpi's documents"),
    Known("a file that never was", "words", '"no such file"', "*", "our words, outside devpi's documents"),
    Known("the file that was overwritten", "words", "*", '"* was removed from this index."', "names the file"),
    Known("a file of an index that was removed", "words", "*", '"The index * was deleted."', "says what is gone"),
    Known("a form without an action", "words", "*", '":action field not found: *"', "says what to send"),
    Known("an upload without a file", "words", "*", '"content file field not found: *"', "says what to send"),
    Known("register metadata without a name", "words", "*", '"invalid metadata: name missing *"', "says what to send"),
    Known("other bytes, final, not by devpi", "words", "*", '"File already exists: *"', "says what to do"),
    Known("remove root", "words", "*", '"* owns the default index *"', "says why"),
    Known("remove it again", "words", "*", '"The version 1.1 of project hello does not exist."', "as for a read"),
    Known("remove a project again", "words", '"project not found"', "\"no project 'hello'\"", "as for a read"),
    Known("remove a project of a final index", "words", "*", "\"project 'hello' is *\"", "no name of a class in it"),
    Known(
        "remove *", "body.message", '"project <NormalizedName *', "\"project 'hello' *\"", "no name of a class in it"
    ),
    # Uploads.
    Known("upload with basic credentials", "text", '""', '"* is published in *"', "one line says how far it is"),
    Known(
        *("upload with basic credentials and no digest", "status", "200", "400"),
        "digests are checked, and the devpi client alone may leave them out",
    ),
    Known(
        "the same file to a final index", "text", '"<html>*"', '"200 Upload of identical file *"', "one line of text"
    ),
    Known("*", "body.result.*log.0.count", "*", "*", "the same bytes again overwrite nothing"),
    # Pages.
    Known("*", "body.meta.api-version", '"1.0"', '"1.4"', "the current form of the simple API"),
    Known("*", "body.meta._*", "nothing", "*", "serials, and the index of an inherited page"),
    Known("*", "body.projects.*._last-serial", "nothing", "*", "serials"),
    Known("*", "body.versions", "nothing", "*", "what the current form has"),
    Known("*", "body.files.*", "nothing", "*", "size, upload time, yank, index of origin: tools resolve by age"),
    Known("pages *", "links.*.data-*", "nothing", "*", "size and upload time: tools resolve by age"),
    Known("*", "body.files.*.url", '"../../*/+f/*"', '"*../+f/*"', "inherited files too are served by the index asked"),
    Known(
        "pages *",
        "links.*.href",
        '"../../../*/+f/*"',
        '"../../+f/*"',
        "inherited files too are served by the index asked",
    ),
    Known(
        "absolute pages",
        "body.files.*.url",
        "*",
        '"http://HOST/alice/dev/+f/*"',
        "inherited files too are served by the index asked",
    ),
    Known("the list *", "body.projects", "*", "*", "a project without files is listed in the index's document alone"),
    Known("the list *", "links", "*", "*", "a project without files is listed in the index's document alone"),
    Known("a project of a diamond", "body.result.*.+shadowing", "*", "*", "each index is there once, by whichever way"),
    # Files.
    Known(
        "a file", "header cache-control", "*", '"public, max-age=31536000, immutable"', "a year is the most that counts"
    ),
    Known(
        "a source archive",
        "type",
        '"application/x-tar"',
        '"application/octet-stream"',
        "one type: no client unpacks it",
    ),
    Known("a file that was removed", "status", "410", "200", "a base still lists the same bytes under this address"),
)
