"""Pages for people: templates with every value escaped, one style sheet, and one script that nothing depends on."""

from __future__ import annotations

from pathlib import Path

import orjson
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from gateway.static import StaticFile, packaged_script
from gateway.words import FILTERS
from shared.problems import problem_of

FOLDER = Path(__file__).parent / "pages"
"""Where the templates and the style sheet are."""

WHOLE, PART = "layout.html", "part.html"
"""What a page extends: with head and navigation, or its own content alone, for a script that asked for it."""

_SCRIPT_SETTINGS = {
    "allowEval": False,
    "allowScriptTags": False,
    "includeIndicatorStyles": False,
    "selfRequestsOnly": True,
    # Nothing of a page may stay in the browser's storage after its owner signed out.
    "historyCacheSize": 0,
    "refreshOnHistoryMiss": True,
    "responseHandling": [
        {"code": "204", "swap": False},
        {"code": "[23]..", "swap": True},
        {
            "code": "...",
            "swap": True,
            "error": True,
            "target": "#trouble",
            "swapOverride": "innerHTML",
            "select": ".problem",
        },
    ],
}
"""How htmx behaves; without `allowEval` it needs no more than to be loaded. Source: htmx reference, "Configuration"."""


class Pages:
    """Renders pages.

    Args:
        script: what pages load; None for pages without.
    """

    def __init__(self, script: StaticFile | None = None) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(FOLDER),
            autoescape=True,
            undefined=StrictUndefined,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        style = StaticFile("style.css", (FOLDER / "style.css").read_bytes(), "text/css; charset=utf-8")
        self.script = script
        self._environment.globals.update(
            style_path=style.path,
            script=script,
            script_settings=orjson.dumps(_SCRIPT_SETTINGS).decode(),
            frame=WHOLE,
        )
        self._environment.filters.update(FILTERS)
        files = [style] if script is None else [style, script]
        self.routes = [Route(file.path, file.answer) for file in files]
        """Where the files of pages are answered."""

    @classmethod
    def with_script(cls) -> Pages:
        """Return pages that load the script, where it is installed."""
        return cls(packaged_script())

    def answer(self, template: str, status: int = 200, *, part: bool = False, **values: object) -> HTMLResponse:
        """Return a page, which is another one for scripts than for people.

        Args:
            template: file name in the `pages` folder.
            part: whether only the page's content is wanted, see `wants_part`.
            values: what the template needs; one that is missing is an error.
        """
        text = self._environment.get_template(template).render({"frame": PART if part else WHOLE, **values})
        return HTMLResponse(text, status, headers={"vary": "HX-Request"})

    def error(self, error: Exception) -> Response:
        """Return an error as a page: the renderer of the UI's face."""
        problem = problem_of(error)
        page = self.answer(
            "message.html",
            problem.status,
            title=problem.title,
            message=problem.detail,
            problem=True,
            link=("/", "Back to the start"),
        )
        # A challenge would open the browser's own password box.
        page.headers.update({name: value for name, value in problem.headers.items() if name != "www-authenticate"})
        return page


def wants_part(request: Request) -> bool:
    """Return whether a script asks, which puts the page's content into a page that is there already.

    Going back in the history wants a whole page, though the script asks for it.
    Source: htmx reference, "Request Headers".
    """
    headers = request.headers
    return headers.get("hx-request") == "true" and headers.get("hx-history-restore-request") != "true"
