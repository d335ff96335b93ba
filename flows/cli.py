"""The console script `proofmill`."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from proofmill.data.errors import ProofmillError
from proofmill.flows import recipe as recipes

app = typer.Typer(
    name="proofmill",
    help="Turns a model's own samples into proven training data.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
)
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

Home = Annotated[
    str | None, typer.Option("--home", help="Where everything is kept; else $PROOFMILL_HOME or ./proofmill-home.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks and Prefect's own log.")]


@app.command(
    epilog="Examples:\n\n`proofmill regenerate`\n\n`proofmill regenerate my.yaml --set samplers.0.sampling.n=16`\n\n"
    "`proofmill regenerate quickstart --limit 8 --dry-run`"
)
def regenerate(
    recipe: Annotated[str, typer.Argument(help="A bundled recipe or the path of a YAML file.")] = "quickstart",
    home: Home = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="a.b=value", help="Change a recipe key; repeatable.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The first so many problems only.")] = None,
    resample: Annotated[bool, typer.Option("--resample", help="Draw new samples; recorded ones are set aside.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Resolve, check and say what would be done.")] = False,
    debug: Debug = False,
) -> None:
    """The main job: problems, samples, verdicts, selection, a published version. Run again, it resumes."""
    from proofmill.flows.command_regenerate import dry, run

    resolved = recipes.load(recipe, overrides or [])
    if dry_run:
        dry(resolved, home, limit, out)
    else:
        run(resolved, home, limit, resample, out, debug=debug)


@app.command(epilog="Examples:\n\n`proofmill show`\n\n`proofmill show quickstart@v1 --samples 3`")
def show(
    version: Annotated[str | None, typer.Argument(help="NAME or NAME@vN; none: all of them.")] = None,
    home: Home = None,
    samples: Annotated[int, typer.Option(min=0, help="Sample rows of each verdict.")] = 1,
    debug: Debug = False,  # noqa: ARG001 (read by `main`)
) -> None:
    """Versions, counts, the funnel, and sample rows by verdict."""
    from proofmill.flows.command_show import show_all, show_version
    from proofmill.flows.session import home_folder

    if version is None:
        show_all(home_folder(home), out)
    else:
        show_version(home_folder(home), version, samples, out)


def main() -> None:
    """Entry point: errors as what, where and what to do next; tracebacks only with `--debug`."""
    debug = "--debug" in sys.argv
    prepare_prefect(sys.argv, debug=debug)
    try:
        app(standalone_mode=False)
    except ProofmillError as error:
        _say(error, debug=debug)
        sys.exit(error.exit_code)
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except KeyboardInterrupt:
        again = " ".join(["proofmill", *sys.argv[1:]])
        err.print(f"\n[yellow]Stopped.[/] What is done is kept. Go on with:\n  {again}", soft_wrap=True)
        sys.exit(1)
    except Exception as error:
        if hasattr(error, "show") and hasattr(error, "exit_code"):  # wrong usage, as typer words it
            error.show()
            sys.exit(error.exit_code)
        if debug:
            raise
        err.print(
            f"[red]error:[/] {type(error).__name__}: {error}\n  next:  this is a fault of proofmill's; run again with "
            "--debug and report what it prints. What is done is kept.",
            soft_wrap=True,
            markup=True,
        )
        sys.exit(1)


def _say(error: ProofmillError, *, debug: bool) -> None:
    if debug:
        err.print_exception()
    err.print("[red]error:[/] ", end="")
    err.print(str(error), markup=False, soft_wrap=True)


def prepare_prefect(arguments: list[str], *, debug: bool) -> None:
    """Settings that must stand before Prefect is imported: quiet, nothing outside HOME, patient at start."""
    home = Path(_option(arguments, "--home") or os.environ.get("PROOFMILL_HOME") or "proofmill-home")
    settings = {
        "PREFECT_HOME": str(home.expanduser().absolute() / ".prefect"),
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "INFO" if debug else "WARNING",
        "PREFECT_LOGGING_SERVER_LEVEL": "WARNING" if debug else "CRITICAL",
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    if not debug:
        logging.getLogger("proofmill").propagate = False


def _option(arguments: list[str], name: str) -> str | None:
    for place, argument in enumerate(arguments):
        if argument == name and place + 1 < len(arguments):
            return arguments[place + 1]
        if argument.startswith(f"{name}="):
            return argument.partition("=")[2]
    return None


if __name__ == "__main__":
    main()
