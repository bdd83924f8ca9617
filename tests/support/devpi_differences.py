"""Where our answers differ from a devpi-server's, and why; `docs/reference/devpi.md` has the same table."""

from __future__ import annotations

from tests.support.beside import Known

_HTML, _PLAIN = '"text/html; charset=utf-8"', '"text/plain; charset=utf-8"'
_DENIED = '"Access was denied to this resource. Unauthorized: PyPIView failed permission check"'
_PROBLEM, _OCTETS = '"application/problem+json"', '"application/octet-stream"'
_REALM = '"Basic realm=\\"countermark\\""'
_OURS = '"http://HOST/+login"'
_NAMES = "names are ASCII letters, digits, `.`, `_` and `-`"
_ENDED = "a new password ends the other logins"
_INHERITED = "inherited files too are served by the index asked"

KNOWN = (
    # Addresses.
    Known("* with a slash", "status", "302", "200", "served at once"),
    Known("discover with a slash", "status", "302", "404", "no client asks so, and the redirect leads there only"),
    Known("discover as a browser", "status", "404", "200", "JSON for everybody"),
    Known("discover from behind a proxy", "body.result.login", "*", _OURS, "who asks is no proxy that is trusted"),
    Known("* without a slash", "status", "302", "301", "for everybody and for good"),
    Known("pages by another spelling*", "status", "302", "301", "for everybody and for good"),
    Known("a project by another spelling, *", "header location", '"*reg"', '"*reg?ignore_bases="', "the query is kept"),
    Known("the list for pip at the index", "status", "200", "302", "a page has one address; pip and uv follow"),
    Known("a page for pip at the project", "status", "200", "302", "a page has one address; pip and uv follow"),
    Known("documentation in its frame", "status", "200", "302", "leads to the documentation itself"),
    Known("may this be read", "status", "200", "404", "reading is decided here, not in nginx"),
    Known("search*", "status", "200", "404", "people search in the dashboard"),
    Known("* to a page", "status", "200", "405", "nothing is done, so nothing is said to be"),
    Known("remove a page", "status", "200", "405", "nothing is done, so nothing is said to be"),
    # What is told of the server and its accounts.
    Known("*", "header x-devpi-api-version", "nothing", '"2"', "this answer is JSON"),
    Known("the server's state", "body.result.server*", "*", "nothing", "folders of the machine are nobody's business"),
    Known("the server's state", "body.result.*serial", "*", "*", "counts what was changed here: grows, and may skip"),
    Known("the server's state", "body.result.metrics", "*", "*", "each process tells its own at `/metrics`"),
    Known("the server's state", "body.result.versioninfo.*", "*", "nothing", "there is no plugin"),
    Known("all accounts", "body.result.root.indexes.stable", "nothing", "*", "the index that every deployment has"),
    Known("an account's address, to anybody", "body.result.email", "*", "nothing", "shown to the account and `root`"),
    Known("make an account with an at sign", "status", "201", "400", _NAMES),
    Known("make an account not in ASCII", "status", "201", "400", _NAMES),
    Known("discover with a token from before", "body.result.authstatus.*", "*", "*", _ENDED),
    Known("change with a token from before", "status", "200", "401", _ENDED),
    # What is refused, and how that is said.
    Known("*", "status", "500", "400", "what is wrong with the request is said"),
    Known("push from a mirror", "status", "500", "502", "says what cannot be fetched"),
    Known("*", "words", '"Internal Server Error *"', "*", "what is wrong with the request is said"),
    Known("*", "words", _DENIED, "*", "names the right that is missing"),
    Known("change *", "words", '"no permission to modify user OBJECT"', '"* user alice"', "names the account"),
    Known("the changes", "words", "*", '"Replication protocol disabled: *"', "says why"),
    Known("*", "header www-authenticate", '"Basic realm=\\"pypi\\""', _REALM, "a realm of our own"),
    Known("*", "header www-authenticate", '""', _REALM, "every 401 says how it is answered (RFC 9110)"),
    Known("*", "type", _HTML, '"application/json"', "the devpi client prints this; a reason phrase cannot be set"),
    Known("*", "type", _HTML, _PLAIN, "words are plain text, which `uv` and `twine` print"),
    Known("*", "type", _HTML, '""', "an empty answer has no type"),
    Known("a file *", "type", _HTML, _PROBLEM, "problem documents, as everywhere beside devpi's API"),
    Known("the head of no file", "type", _HTML, _PROBLEM, "problem documents, as everywhere beside devpi's API"),
    Known("what was removed there", "type", _HTML, _PROBLEM, "problem documents, as everywhere beside devpi's API"),
    Known("documentation out *", "type", _HTML, _PROBLEM, "problem documents, as everywhere beside devpi's API"),
    Known("*", "words", '"/+*"', '"There is nothing at this address. *"', "our words where nothing is"),
    Known("documentation out *", "words", "*", '"There is nothing at this address: *"', "no path leaves its folder"),
    Known("documentation of a base alone", "words", "*", '"No documentation available."', "the base has the project"),
    Known("* anonymously", "words", '"Unauthorized"', '"Credentials are needed: *"', "says what to send"),
    Known("upload with a wrong password", "words", '"Unauthorized"', '"wrong token, *"', "says what is wrong"),
    Known("* not by devpi", "words", '"no permission to submit"', '"bob may not upload on *"', "names the account"),
    Known("* unknown index", "words", '"The stage *"', '"There is no index *"', "our words, outside devpi's documents"),
    Known("* page *", "words", "*", '"There is no project *"', "our words, outside devpi's documents"),
    Known("pages of nothing", "words", "*", '"There is no project *"', "our words, outside devpi's documents"),
    Known("pages of a mirror that is down", "status", "404", "503", "else it is taken from elsewhere"),
    Known("the list of a mirror that is down", "status", "200", "503", "no list is no empty list"),
    Known(
        "a page of what none above a mirror has",
        "status",
        "404",
        "503",
        "else it is taken from elsewhere",
    ),
    Known("a project that none above a mirror has", "status", "404", "502", "whether it is there cannot be said"),
    Known("a * of a mirror", "status", "404", "502", "whether it is there cannot be said"),
    Known("pages of a mirror *", "words", "*", '"the upstream of * gives no answer: *"', "says what to wait for"),
    Known("* none above a mirror has", "words", "*", '"the upstream of * gives no answer: *"', "says what to wait for"),
    Known("a * of a mirror", "words", "*", '"the upstream of * gives no answer: *"', "says what to wait for"),
    Known("pages of a name not in ASCII", "status", "400", "404", "nothing can be called so: nothing is there"),
    Known("pages of a name not in ASCII", "words", "*", '"There is nothing *"', "our words where nothing is"),
    Known("pages for what takes neither", "status", "200", "406", "says which types there are (RFC 9110)"),
    Known("* no file", "words", '"no such file"', "*", "our words, outside devpi's documents"),
    Known("a file that never was", "words", '"no such file"', "*", "our words, outside devpi's documents"),
    Known(
        "*", "words", '"file existed, deleted in later serial"', '"* was removed from this index."', "names the file"
    ),
    Known("a file of an index that was removed", "words", "*", '"The index * was deleted."', "says what is gone"),
    Known("a form *", "words", "*", '":action field not found: *"', "says what to send"),
    Known("*", "words", '"content file field not found"', '"content file field not found: *"', "says what to send"),
    Known("*", "words", '"invalid metadata: Missing *"', '"invalid metadata: * missing *"', "says what to send"),
    Known("other bytes, final, not by devpi", "words", "*", '"File already exists: *"', "says what to do"),
    Known("remove *", "words", '"version *"', '"The version * of project hello does not exist."', "as for a read"),
    Known("remove *", "words", '"project not found"', "\"no project '*'\"", "as for a read"),
    Known("remove a project of a final index", "words", "*", "\"project 'hello' is *\"", "no name of a class in it"),
    Known(
        "remove *", "body.message", '"project <NormalizedName *', "\"project 'hello' *\"", "no name of a class in it"
    ),
    # Uploads.
    Known("upload with basic credentials", "text", '""', '"* is published in *"', "one line says how far it is"),
    Known("*", "text", '"<html>*200 Upload of *"', '"200 Upload of identical file *"', "one line of text"),
    Known("* no digest", "status", "200", "400", "the devpi client alone may leave digests out"),
    Known("an upload with a wrong digest", "status", "200", "400", "digests are checked"),
    Known("upload by a password", "text", '""', '"* already there *"', "says what became of it"),
    Known("upload by a password, guarded", "status", "200", "403", "of passwords, only the devpi client's are taken"),
    Known("a file in a folder", "words", "*", '"* must not contain a path."', "says what is wrong"),
    Known("a file with a space", "status", "200", "400", "links of such a name are read in more than one way"),
    Known("a version beside PEP 440", "status", "200", "400", "installers would pass over the file"),
    Known("a wheel whose *", "status", "200", "400", "installers would pass over the file"),
    Known("a wheel of a name that begins alike", "status", "200", "400", "it is another project's"),
    Known("what a final index says then", "body.result.*", "*", "*", "a release with files is as its files say"),
    Known("*", "body.result.*log.0.count", "*", "*", "the same bytes again overwrite nothing"),
    Known("push to another registry", "status", "502", "403", "the operator lists where to"),
    Known(
        "push to another registry", "words", "*", '"* in the setting uploads.push_to."', "the operator lists where to"
    ),
    # Pages and documents.
    Known("*", "body.meta.api-version", '"1.0"', '"1.4"', "the current form of the simple API"),
    Known("*", "body.meta._*", "nothing", "*", "serials, and the index of an inherited page"),
    Known("*", "body.projects.*._last-serial", "nothing", "*", "serials"),
    Known("*", "body.versions", "nothing", "*", "what the current form has"),
    Known("*", "body.files.*", "nothing", "*", "size, upload time, yank, index of origin: tools resolve by age"),
    Known("pages *", "links.*.data-*", "nothing", "*", "size and upload time: tools resolve by age"),
    Known("*", "body.files.*.url", '"../../*/+f/*"', '"*../+f/*"', "inherited files too are served by the index asked"),
    Known("pages *", "links.*.href", '"../../../*/+f/*"', '"../../+f/*"', _INHERITED),
    Known("absolute pages", "body.files.*.url", "*", '"http://HOST/alice/dev/+f/*"', _INHERITED),
    Known("a file of a base through the index above", "status", "404", "200", _INHERITED),
    Known(
        "the list *", "body.projects.hello-reg", "*", "nothing", "what has no files is in the index's document alone"
    ),
    Known("the list *", "links.hello-reg", "*", "nothing", "what has no files is in the index's document alone"),
    Known("the head of pages", "header vary", "*", '"Accept, Accept-Encoding"', "installers get what all others get"),
    Known("a project, by a script", "body", "nothing", "*", "JSON for everybody; people have the dashboard"),
    Known("a project, by a script", "links", "*", "nothing", "JSON for everybody; people have the dashboard"),
    Known("a version by another spelling", "status", "404", "200", "versions that are equal are one"),
    Known("a project of a diamond", "body.result.*.+shadowing", "*", "*", "each index is there once, by whichever way"),
    # Files.
    Known(
        "a file", "header cache-control", "*", '"public, max-age=31536000, immutable"', "a year is the most there is"
    ),
    Known("a source archive", "type", '"application/x-tar"', _OCTETS, "one type: no client unpacks it"),
    Known("the archive of documentation", "type", '"application/zip"', _OCTETS, "one type: no client unpacks it"),
    Known("the metadata of a wheel", "header x-devpi-api-version", '"2"', "nothing", "no part of devpi's API"),
    Known("the metadata of a wheel", "type", '"application/json"', _PROBLEM, "no part of devpi's API"),
    Known("the metadata of a wheel", "words", "*", "*", "admission `devpi` looks into no file: none are known"),
    Known("a file that was removed", "status", "410", "200", "a base still lists the same bytes under this address"),
    # Safe defaults.
    Known("* makes an account", "status", "201", "403", "only `root` makes accounts"),
    Known(
        "make a guarded *", "body.result.acl_toxresult_upload.0", "*", '":AUTHENTICATED:"', "results need an account"
    ),
    Known("anybody sends a test result", "status", "200", "403", "results need an account"),
    Known("upload another's wheel", "status", "200", "400", "contents are checked"),
    Known("upload what is no archive", "status", "200", "400", "contents are checked"),
    Known("overwrite with other bytes", "status", "200", "400", "the form has to say what the file says"),
    Known("what such a release says then", "body.result.*", "*", "*", "a release with files is as its files say"),
    Known("a guarded page", "body.files.*", "*", "nothing", "what was refused above is not there"),
    Known("a wheel's metadata", "status", "404", "200", "read from the wheel, and named by digest on the page"),
    Known(
        "upload what was removed there", "status", "200", "409", "a removed name of a final index is never used again"
    ),
)
