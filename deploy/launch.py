"""`countermark-server`: one program, a subcommand for each process and for what operators do.

Exit codes: 0 done, 1 a fault, 2 wrong usage or settings. A fault is one line on standard error; set the setting
`logging.level` to DEBUG to see where it came from.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop

from deploy import processes
from deploy.cli_accounts import indexes, tokens, users
from deploy.cli_audit import audits
from deploy.cli_common import ConfigOption, DataOption, SetOption, function, load_settings, new_group, run, say
from deploy.cli_import import imports
from deploy.cli_keys import keys
from deploy.cli_mirrors import mirrors
from deploy.cli_operations import bins, check_config, configuration, jobs, rebuild, trees
from deploy.cli_osv import advisories
from deploy.cli_policy import policies
from deploy.cli_publishers import publishers
from deploy.cli_trust import trust
from deploy.errors import LaunchError, UsageError
from deploy.supervisor import first_cause
from shared.errors import ServiceError
from shared.log import configure_logging
from shared.settings import Settings

app = new_group("Countermark, a package registry whose every download can be proven.")
app.add_typer(users, name="user")
app.add_typer(tokens, name="token")
app.add_typer(publishers, name="publisher")
app.add_typer(indexes, name="index")
app.add_typer(keys, name="keys")
app.add_typer(jobs, name="jobs")
app.add_typer(trees, name="tree")
app.add_typer(configuration, name="config")
app.add_typer(imports, name="import")
app.add_typer(mirrors, name="mirror")
app.add_typer(advisories, name="osv")
app.add_typer(audits, name="audit")
app.add_typer(trust, name="trust")
app.add_typer(policies, name="policy")
app.command("check-config")(check_config)
app.command("rebuild")(rebuild)
app.command("bins")(bins)

_SERVICES = {
    "upload": "Serve uploads alone.",
    "signing": "Run the signing service alone: publications, and fresh timestamps.",
    "download": "Serve files alone.",
}


@app.command()
def up(  # noqa: PLR0913 - each is an option of the command line
    *,
    data: DataOption = None,
    api_port: Annotated[int | None, typer.Option(help="Port of the host for machines.", show_default="3141")] = None,
    ui_port: Annotated[int | None, typer.Option(help="Port of the host for people.", show_default="3142")] = None,
    compat: Annotated[
        str | None, typer.Option(help="devpi-open: as open as a plain devpi-server, on this machine alone.")
    ] = None,
    config: ConfigOption = None,
    pairs: SetOption = None,
    end_with_parent: Annotated[
        bool, typer.Option("--end-with-parent", help="Stop when the calling process ends.")
    ] = False,
) -> None:
    """Run everything in this process, with a Postgres and a Valkey of its own, until Ctrl-C."""
    more = {"listen.api_port": api_port, "listen.ui_port": ui_port, "compat": compat}
    settings = load_settings(data, config, pairs, more).settings
    if end_with_parent:
        processes.end_with_parent()
    _run_process(settings, function("deploy.embedded.up")(settings, say, programs=_programs()))


@app.command()
def init(*, data: DataOption = None, config: ConfigOption = None, pairs: SetOption = None) -> None:
    """Make schema, trust root, owner and default index where they are absent, and end."""
    settings = load_settings(data, config, pairs).settings
    _configure_logging(settings)
    run(function("deploy.embedded.init")(settings, say))


@app.command()
def gateway(*, data: DataOption = None, config: ConfigOption = None, pairs: SetOption = None) -> None:
    """Run the gateway alone, in front of the services that `upstreams` names."""
    settings = load_settings(data, config, pairs).settings
    _run_process(settings, function("deploy.single.serve_gateway")(settings, say))


@app.command()
def worker(*, data: DataOption = None, config: ConfigOption = None, pairs: SetOption = None) -> None:
    """Run the relay and the jobs of the index service."""
    settings = load_settings(data, config, pairs).settings
    _run_process(settings, function("deploy.single.serve_worker")(settings, say))


def _service_command(name: str) -> Callable[..., None]:
    def serve(*, data: DataOption = None, config: ConfigOption = None, pairs: SetOption = None) -> None:
        settings = load_settings(data, config, pairs).settings
        _run_process(settings, function("deploy.single.serve_service")(name, settings, say))

    return serve


for _name, _help in _SERVICES.items():
    app.command(_name, help=_help)(_service_command(_name))


@indexes.callback(invoke_without_command=True)
def index(
    context: typer.Context, *, data: DataOption = None, config: ConfigOption = None, pairs: SetOption = None
) -> None:
    """Serve pages alone; or, with a command, make and list indexes."""
    if context.invoked_subcommand is None:
        _service_command("index")(data=data, config=config, pairs=pairs)


def main(arguments: list[str] | None = None) -> None:
    """Run a command and end the process with its exit code.

    Args:
        arguments: what follows the program's name; None for those of the process.
    """
    sys.exit(_exit_code(arguments))


def _exit_code(arguments: list[str] | None) -> int:
    # Commands write to standard output what they were asked and no more; processes configure it by their settings.
    configure_logging("console", level="WARNING")
    try:
        code = app(args=arguments, prog_name="countermark-server", standalone_mode=False)
    except typer.Abort:
        return 1
    except typer.TyperException as error:
        return _tell(error.format_message(), error.exit_code)
    except UsageError as error:
        return _tell(str(error), 2)
    except LaunchError as error:
        return _tell(str(error), 1)
    except ServiceError as error:
        return _tell(error.detail, 1)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        # The one place where an error that nobody expected becomes a line.
        cause = first_cause(error)
        return _tell(f"{type(cause).__name__}: {cause}", 1)
    return code if isinstance(code, int) else 0


def _tell(message: str, code: int) -> int:
    if logging.getLogger().isEnabledFor(logging.DEBUG):
        traceback.print_exc()
    for line in message.splitlines() or ["it failed without a word; set logging.level=DEBUG"]:
        if line.strip():
            sys.stderr.write(f"countermark-server: {line.strip()}\n")
    return code


def _run_process(settings: Settings, work: Coroutine[Any, Any, None]) -> None:
    _configure_logging(settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


def _configure_logging(settings: Settings) -> None:
    configure_logging(settings.logging.format, level=settings.logging.level)
    # Two lines for each start and stop of each listener; ours say more.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


def _programs() -> str:
    """Return where the programs are as it can be written on a command line: nothing when they are on the PATH."""
    program = Path(sys.argv[0]).absolute()
    found = shutil.which("countermark-server")
    if found is not None and Path(found).absolute() == program:
        return ""
    relative = os.path.relpath(program.parent)
    shorter = relative if len(relative) < len(str(program.parent)) else str(program.parent)
    return f"{shorter}/"


if __name__ == "__main__":
    main()
