"""The console script `proofmill`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from proofmill.data.errors import ProofmillError
from proofmill.flows import recipe_file as recipes
from proofmill.flows.server import configure

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
    str | None,
    typer.Option("--home", help="Where everything is kept; else $PROOFMILL_HOME or ./proofmill-home."),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks and Prefect's own log.")]

_INTERRUPTED = 130  # what typer makes of Ctrl-C


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
    resample: Annotated[
        bool, typer.Option("--resample", help="Draw new samples; recorded ones are set aside.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Resolve, check and say what would be done.")] = False,
    debug: Debug = False,  # noqa: ARG001 (read by `main`)
) -> None:
    """The main job: problems, samples, verdicts, selection, a published version. Run again, it resumes."""
    from proofmill.flows.command_regenerate import dry, run

    resolved = recipes.load(recipe, overrides or [])
    if dry_run:
        dry(resolved, home, limit, out)
    else:
        run(resolved, home, limit, resample, out)


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
    home = _option(sys.argv, "--home") or os.environ.get("PROOFMILL_HOME") or "proofmill-home"
    configure(Path(home).expanduser(), debug=debug)
    try:
        app()
    except ProofmillError as error:
        _say(error, debug=debug)
        sys.exit(error.exit_code)
    except SystemExit as stop:
        if stop.code != _INTERRUPTED:
            raise
        again = " ".join(["proofmill", *sys.argv[1:]])
        err.print(f"[yellow]Stopped.[/] What is done is kept. To go on, type:\n  {again}", soft_wrap=True)
        sys.exit(1)
    except Exception as error:
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


def _option(arguments: list[str], name: str) -> str | None:
    for place, argument in enumerate(arguments):
        if argument == name and place + 1 < len(arguments):
            return arguments[place + 1]
        if argument.startswith(f"{name}="):
            return argument.partition("=")[2]
    return None


if __name__ == "__main__":
    main()
