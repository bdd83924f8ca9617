"""Pages for people: templates with every value escaped, and one style sheet whose address changes with its bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from gateway.words import FILTERS
from shared.problems import problem_of

FOLDER = Path(__file__).parent / "pages"
"""Where the templates and the style sheet are."""


class Pages:
    """Renders pages."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(FOLDER),
            autoescape=True,
            undefined=StrictUndefined,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._style = (FOLDER / "style.css").read_bytes()
        self.style_path = f"/static/{hashlib.sha256(self._style).hexdigest()[:16]}/style.css"
        """Where the style sheet is; unchangeable for as long as its bytes are."""
        self._environment.globals["style_path"] = self.style_path
        self._environment.filters.update(FILTERS)

    def answer(self, template: str, status: int = 200, **values: object) -> HTMLResponse:
        """Return a page.

        Args:
            template: file name in the `pages` folder.
            values: what the template needs; one that is missing is an error.
        """
        return HTMLResponse(self._environment.get_template(template).render(values), status)

    def error(self, error: Exception) -> Response:
        """Return an error as a page: the renderer of the UI's face."""
        problem = problem_of(error)
        page = self.answer(
            "message.html",
            problem.status,
            title=problem.title,
            message=problem.detail,
            link=("/", "Back to the start"),
        )
        # A challenge would open the browser's own password box.
        page.headers.update({name: value for name, value in problem.headers.items() if name != "www-authenticate"})
        return page

    async def style(self, _request: Request) -> Response:
        """Answer the style sheet."""
        headers = {"cache-control": "public, max-age=31536000, immutable"}
        return Response(self._style, media_type="text/css; charset=utf-8", headers=headers)
