"""What to type, or to write into which file, so that a tool uses an index. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Recipe:
    """Lines for one tool; `note` says where they belong."""

    tool: str
    note: str
    lines: str


def reading_recipes(url: str, project: str = "NAME") -> list[Recipe]:
    """Return how tools install from an index.

    Args:
        url: of the index, without a trailing slash.
    """
    simple = f"{url}/+simple/"
    return [
        Recipe("pip", "Once, on the command line", f"pip install --index-url {simple} {project}"),
        Recipe("pip.conf", "For good, in the file that pip config debug names", f"[global]\nindex-url = {simple}"),
        Recipe("uv", "Once, on the command line", f"uv pip install --default-index {simple} {project}"),
        Recipe("pyproject.toml", "For a project that uv manages", _uv_index(url)),
        Recipe(
            "countermark",
            "Each file proven before it is used",
            f"countermark download --repository {url} --trust-on-first-use {project}",
        ),
    ]


def uploading_recipes(url: str) -> list[Recipe]:
    """Return how tools upload to an index; they ask for the token, or take it from their own settings."""
    pypirc = f"[distutils]\nindex-servers = countermark\n\n[countermark]\nrepository = {url}/\nusername = __token__"
    return [
        Recipe("twine", "User name __token__, password: a token", f"twine upload --repository-url {url}/ dist/*"),
        Recipe(".pypirc", "Then: twine upload -r countermark dist/*", pypirc),
        Recipe("uv", "The token in UV_PUBLISH_TOKEN", f"uv publish --publish-url {url}/ dist/*"),
        Recipe(
            "countermark",
            "The token in COUNTERMARK_TOKEN",
            f"countermark upload --index {url}/ dist/*",
        ),
    ]


def install_lines(url: str, project: str, version: str | None) -> list[Recipe]:
    """Return how to install one project, in the version shown when it is not the latest."""
    wanted = project if version is None else f"{project}=={version}"
    simple = f"{url}/+simple/"
    return [
        Recipe("pip", "", f"pip install --index-url {simple} {wanted}"),
        Recipe("uv", "", f"uv pip install --default-index {simple} {wanted}"),
        Recipe("countermark", "", f"countermark download --repository {url} --trust-on-first-use {wanted}"),
    ]


def _uv_index(url: str) -> str:
    name = url.rpartition("/")[2]
    return f'[[tool.uv.index]]\nname = "{name}"\nurl = "{url}/+simple/"\npublish-url = "{url}/"\ndefault = true'
