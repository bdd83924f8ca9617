"""`python -m countermark` and the console command."""

from __future__ import annotations

from countermark.cli import app


def main() -> None:
    """Run the command line."""
    app(prog_name="countermark")


if __name__ == "__main__":
    main()
