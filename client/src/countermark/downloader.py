"""`python -m countermark.downloader NAME --version V --repository URL`: see `countermark.cli.downloader`."""

from __future__ import annotations

from countermark.cli.downloader import app


def main() -> None:
    """Run the command line."""
    app(prog_name="python -m countermark.downloader")


if __name__ == "__main__":
    main()
