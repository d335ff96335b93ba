"""The console script `proofmill`."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from proofmill.data.errors import ProofmillError
from proofmill.data.files import mirror_folder
from proofmill.data.objects import is_address
from proofmill.flows import cli_options as shared
from proofmill.flows.cli_options import Cluster, Debug, Domain, Home, Limit, Maps, Options, Out, Split, Traces, Workers
from proofmill.flows.cli_options import option_of as _option
from proofmill.flows.display import InertConsole, InertFormatter, typed
from proofmill.flows.prefect_server import configure

app = typer.Typer(
    name="proofmill",
    help="Turns a model's own samples into proven training data.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
)
out = InertConsole(highlight=False)
err = InertConsole(stderr=True, highlight=False)


def _version(wanted: bool) -> None:
    if wanted:
        from proofmill.data.run import library_version

        out.print(f"proofmill {library_version('proofmill')}")
        raise typer.Exit


@app.callback()
def _all(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version of proofmill.")
    ] = False,
) -> None: ...


_STREAMING = ("verify", "claims", "dedup", "decontaminate", "filter")  # their file is whole or not there
_INTERRUPTED = 130  # what typer makes of Ctrl-C


@app.command(
    epilog="Examples:\n\n`proofmill regenerate`\n\n`proofmill regenerate my.yaml --set samplers.0.sampling.n=16`\n\n"
    "`proofmill regenerate quickstart --limit 8 --dry-run`"
)
def regenerate(
    recipe: Annotated[str, typer.Argument(help="A bundled recipe or the path of a YAML file.")] = "quickstart",
    home: Home = None,
    overrides: shared.Overrides = None,
    limit: shared.ProblemLimit = None,
    resample: Annotated[
        bool, typer.Option("--resample", help="Draw new samples; recorded ones are set aside.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Resolve, check and say what would be done.")] = False,
    probed: Annotated[
        int | None, typer.Option("--probe", min=1, help="Sample this many problems, and estimate the whole run.")
    ] = None,
    cluster: Cluster = None,
    debug: Debug = False,  # noqa: ARG001 (read by `main`)
) -> None:
    """Run the main job: problems, samples, verdicts, selection, a published version. Run again, it resumes."""
    from proofmill.flows.commands.regenerate import dry, probe, run
    from proofmill.flows.recipe import load as recipe_file

    resolved = recipe_file.load(recipe, overrides or [], cluster)
    if probed is not None:
        probe(resolved, home, probed, limit, out, alone=not (dry_run or resample))
    elif dry_run:
        dry(resolved, home, limit, resample, out)
    else:
        run(resolved, home, limit, resample, out)


@app.command(
    epilog="Examples:\n\n`proofmill show`\n\n`proofmill show quickstart@v1 --samples 3`\n\n"
    "`proofmill show quickstart@v1 --refuted 10`\n\n"
    "`proofmill show quickstart --dropped degenerate --samples 10`"
)
def show(
    version: Annotated[str | None, typer.Argument(help="NAME or NAME@vN; none: all of them.")] = None,
    home: Home = None,
    samples: Annotated[int, typer.Option(min=0, help="Sample rows of each verdict, or of the reason.")] = 1,
    refuted: Annotated[
        int | None, typer.Option(min=0, help="Instead: this many accepted traces with a refuted step.")
    ] = None,
    dropped: Annotated[
        str | None, typer.Option(help="Instead: rows dropped for this reason, with the evidence; or `all` reasons.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Compare every file with its published hash first.")] = False,
    debug: Debug = False,  # noqa: ARG001 (read by `main`)
) -> None:
    """Show versions, counts, the funnel, and sample rows by verdict or drop reason, or right answers by a wrong
    path.
    """
    from proofmill.flows.commands.show import show_all, show_dropped, show_refuted, show_version
    from proofmill.flows.context import home_folder

    if version is None:
        show_all(home_folder(home), out)
    elif refuted is not None:
        show_refuted(home_folder(home), version, refuted, out)
    elif dropped is not None:
        show_dropped(home_folder(home), version, dropped, samples, out)
    else:
        show_version(home_folder(home), version, samples, out, check=check)


@app.command(
    epilog="Examples:\n\n`proofmill verify traces.jsonl --out judged.jsonl`\n\n"
    "`proofmill verify openr1.parquet --map prompt=problem,response=generations[] --domain math --out judged.parquet`"
    "\n\n`proofmill verify solutions.jsonl --domain code --set cpu_seconds=10 --set jail.packages=[numpy] "
    "--out judged.jsonl`\n\n`proofmill verify hf://open-r1/OpenR1-Math-220k --limit 1000 --domain math "
    "--map prompt=problem,response=generations[] --out judged.jsonl.zst`"
)
def verify(
    traces: Traces,
    out_file: Out,
    maps: Maps = None,
    domain: Domain = None,
    verifiers: Annotated[
        list[str] | None,
        typer.Option(
            "--verifier",
            metavar="name=package.module:name",
            help="A custom verifier; repeatable.",
        ),
    ] = None,
    options: Options = None,
    split: Split = "train",
    limit: Limit = None,
    workers: Workers = None,
    debug: Debug = False,  # noqa: ARG001 (read by `main`)
) -> None:
    """Give a verdict on each trace of a file: correct, wrong, unparsed, timeout or error, each with its cause."""
    from proofmill.flows.commands.filters import named_filter, parse_map, run_filter
    from proofmill.flows.row_chunks import Source

    active = named_filter("verdicts", options or [], verifiers=parse_map(verifiers or []))
    source = Source(traces, parse_map(maps or []), domain, split, limit)
    run_filter("verify", active, source, out_file, workers, out)


@app.command(
    epilog="Examples:\n\n`proofmill inspect judged.jsonl`\n\n"
    "`proofmill inspect judged.parquet --verdict unparsed --examples 5`"
)
def inspect(
    judged: Annotated[str, typer.Argument(help="A file with verdicts, as `proofmill verify` writes it.")],
    examples: Annotated[int, typer.Option(min=0, help="Example rows of each group.")] = 1,
    verdict: Annotated[str | None, typer.Option(help="Only rows of this verdict.")] = None,
    as_json: shared.AsJson = False,
    maps: Maps = None,
    split: Split = "train",
    limit: Limit = None,
    debug: Debug = False,  # noqa: ARG001 (read by `main`)
) -> None:
    """Summarise a judged file: rows by verdict and detail, how unparsed ones end, and examples."""
    from proofmill.flows.commands.filters import parse_map
    from proofmill.flows.commands.inspect import run
    from proofmill.flows.row_chunks import Source

    run(Source(judged, parse_map(maps or []), None, split, limit), examples, verdict, out, as_json=as_json)


@app.command(
    epilog="Examples:\n\n`proofmill claims traces.jsonl --out claims.jsonl`\n\n"
    "`proofmill claims stepwise.jsonl --map prompt=problem,steps=steps --out claims.parquet`"
)
def claims(
    traces: Traces,
    out_file: Out,
    maps: Maps = None,
    domain: Domain = None,
    options: Options = None,
    split: Split = "train",
    limit: Limit = None,
    workers: Workers = None,
    debug: Debug = False,  # noqa: ARG001 (read by `main`)
) -> None:
    """Check every checkable intermediate claim; write its status and evidence, and each row's claim columns."""
    from proofmill.flows.commands.filters import named_filter, parse_map, run_filter
    from proofmill.flows.row_chunks import Source

    source = Source(traces, parse_map(maps or []), domain, split, limit)
    run_filter("claims", named_filter("claims", options or []), source, out_file, workers, out)


@app.command(
    name="filter",
    epilog="Examples:\n\n`proofmill filter quality traces.jsonl --out measured.jsonl`\n\n"
    "`proofmill filter mypackage.checks:too_polite traces.jsonl --set threshold=0.3 --out judged.jsonl`",
)
def filter_rows(
    use: Annotated[str, typer.Argument(help="A filter's name, or package.module:NAME of your own.")],
    traces: Traces,
    out_file: Out,
    options: Options = None,
    maps: Maps = None,
    domain: Domain = None,
    split: Split = "train",
    limit: Limit = None,
    workers: Workers = None,
    debug: Debug = False,  # noqa: ARG001 (read by `main`)
) -> None:
    """Run one filter on the traces of a file; it adds the same columns as in a run."""
    from proofmill.flows.commands.filters import named_filter, parse_map, run_filter
    from proofmill.flows.row_chunks import Source

    source = Source(traces, parse_map(maps or []), domain, split, limit)
    run_filter("filter", named_filter(use, options or []), source, out_file, workers, out)


@app.command(
    epilog="Examples:\n\n`proofmill dedup judged.jsonl --out dedup.jsonl`\n\n"
    "`proofmill dedup problems.parquet --text question --threshold 0.7 --out marked.parquet`\n\n"
    "`proofmill dedup part-7.jsonl --index redis://10.0.0.1:6379/0 --index-name run3 --out marked-7.jsonl`"
)
def dedup(
    traces: Traces,
    out_file: Out,
    maps: Maps = None,
    text: Annotated[
        str | None, typer.Option(help="Field to compare; default response, else prompt, else text.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Smallest Jaccard similarity of near-duplicates; default 0.9.")
    ] = None,
    within: Annotated[
        float | None,
        typer.Option("--threshold-within", help="The same, within one problem; default 0.8."),
    ] = None,
    permutations: Annotated[int | None, typer.Option(help="Values in a MinHash signature; default 128.")] = None,
    shingle: Annotated[str | None, typer.Option(help="words, chars or tokens; default words.")] = None,
    shingle_size: Annotated[int | None, typer.Option(help="Units in a shingle; default 5.")] = None,
    index: Annotated[
        str | None,
        typer.Option(help="Redis that machines share: redis://HOST:PORT/0. What one keeps, no other keeps."),
    ] = None,
    index_name: Annotated[str, typer.Option(help="Name of the index on that Redis.")] = "proofmill",
    split: Split = "train",
    limit: Limit = None,
    workers: Workers = None,
    debug: Debug = False,  # noqa: ARG001 (read by `main`)
) -> None:
    """Mark near-duplicates: `duplicate_of` names the row that is kept, a verified one first, then the shortest."""
    from proofmill.filters.near_duplicates.minhash import DedupOptions
    from proofmill.filters.near_duplicates.shared_index import SharedIndex
    from proofmill.flows.commands.dedup import run
    from proofmill.flows.commands.filters import checked_options, parse_map
    from proofmill.flows.row_chunks import Source

    given = {
        "threshold_within": within,
        "threshold_across": threshold,
        "permutations": permutations,
        "shingle": shingle,
        "shingle_size": shingle_size,
    }
    options = checked_options(DedupOptions, {name: value for name, value in given.items() if value is not None})
    shared = SharedIndex(options, index, index_name) if index else None
    run(Source(traces, parse_map(maps or []), None, split, limit), out_file, options, text, workers, out, shared)


@app.command(
    epilog="Examples:\n\n`proofmill decontaminate traces.jsonl --against aime.jsonl --out clean.jsonl`\n\n"
    "`proofmill decontaminate t.parquet --against hf://openai/gsm8k --against-config main --out marked.parquet`\n\n"
    "`proofmill decontaminate traces.jsonl --against gsm8k.jsonl --judge http://gpu1:8000/v1#org/model "
    "--set engine.api=chat --out clean.jsonl`\n\n"
    "`proofmill decontaminate quickstart@v1 --against new-benchmark.jsonl`"
)
def decontaminate(
    traces: Annotated[
        str, typer.Argument(help="A .jsonl (.gz, .zst) or .parquet file, hf://user/name, or a version NAME@vN.")
    ],
    against: shared.Against,
    out_file: Annotated[Path | None, typer.Option("--out", help="The file to write; for NAME@vN only a list.")] = None,
    against_field: shared.AgainstFields = None,
    against_split: shared.AgainstSplit = "test",
    against_config: shared.AgainstConfig = None,
    n: Annotated[int, typer.Option("--n", help="Words in a run that counts as overlap.")] = 10,
    meaning: shared.Meaning = None,
    judge: shared.Judge = None,
    overrides: shared.JudgeOptions = None,
    dry_run: shared.JudgeDryRun = False,
    maps: Maps = None,
    split: Split = "train",
    limit: Limit = None,
    workers: Workers = None,
    home: Home = None,
    debug: Debug = False,  # noqa: ARG001 (read by `main`)
) -> None:
    """Mark overlap with benchmarks in prompts and responses: `contaminated_by` and the matched span."""
    from proofmill.flows.commands.decontaminate import options_of, run
    from proofmill.flows.commands.filters import parse_map
    from proofmill.flows.context import home_folder
    from proofmill.flows.row_chunks import Source

    given = {"against": [{"source": source, "config": against_config} for source in against], "n": n}
    given |= {"fields": against_field or (), "split": against_split, "meaning": meaning and {"threshold": meaning}}
    options = options_of(given, judge, overrides or [], home_folder(home))
    source = Source(traces, parse_map(maps or []), None, split, limit)
    run(home_folder(home), source, options, out_file, workers, out, dry_run=dry_run)


@app.command(
    name="eval",
    epilog="Examples:\n\n`proofmill eval bundled`\n\n`proofmill eval bundled student@v1 --suite held-out`\n\n"
    "`proofmill eval org/model --suite my-suite.yaml --set repeats=8 --json`\n\n"
    "`proofmill eval http://gpu1:8000/v1#org/model --suite knowledge --dry-run`",
)
def evaluate(
    models: Annotated[
        list[str],
        typer.Argument(
            help="`bundled`, a folder, a hub id, a trained model NAME@vN, a server ADDRESS#MODEL, or a file of "
            "recorded answers. Several are compared in pairs."
        ),
    ],
    suite: Annotated[
        str, typer.Option(help="A bundled suite or a YAML file; `untidy:SUITE` asks it untidily.")
    ] = "held-out",
    home: Home = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="a.b=value", help="Change a key of the suite; repeatable.")
    ] = None,
    limit: shared.ProblemLimit = None,
    as_json: shared.AsJson = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be drawn; draw nothing.")] = False,
    out_file: Annotated[
        Path | None, typer.Option("--out", help="The HTML page to write; default: under HOME/evaluations.")
    ] = None,
    debug: Debug = False,  # noqa: ARG001 (read by `main`)
) -> None:
    """Measure what models can do: pass@1 with its interval, pass@k, maj@k, tokens; all on the same problems."""
    from proofmill.flows.commands.evaluate import run
    from proofmill.flows.context import home_folder

    run(
        models, suite, home_folder(home, "eval"), out, overrides=overrides or [], limit=limit,
        as_json=as_json, dry_run=dry_run, out_file=out_file, home_given=home,
    )  # fmt: skip


@app.command(
    epilog="Examples:\n\n`proofmill train quickstart`\n\n"
    "`proofmill train quickstart@v2 --domain math --out arithmetic --set batch=8 --set stage1.learning_rate=2e-4`\n\n"
    "`proofmill train hf://me/sums@v1 --base org/model --set stages=[sft_stage1,sft_stage2,rl]`",
)
def train(
    data: Annotated[str, typer.Argument(help="NAME@vN, NAME (its newest version), or hf://user/name[@revision].")],
    base: Annotated[
        str | None, typer.Option(help="The model to begin from; else the data's student, else its first sampler.")
    ] = None,
    name: Annotated[str | None, typer.Option("--out", help="Name of the trained model; else that of the data.")] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Whose section `train` holds; else that of the data's own recipe.")
    ] = None,
    domains: Annotated[
        list[str] | None, typer.Option("--domain", help="Train a specialist on this domain; repeatable.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="a.b=value", help="Change a key of `train`; repeatable.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be trained; train nothing.")] = False,
    home: Home = None,
    debug: Debug = False,  # noqa: ARG001 (read by `main`)
) -> None:
    """Train a model on a version: stage 1, stage 2, and RL where asked; recorded with its lineage. Resumes."""
    from proofmill.flows.commands.train import run
    from proofmill.flows.context import home_folder

    run(
        home_folder(home, "train"), data, out, base=base, name=name, recipe=recipe, domains=domains or [],
        overrides=overrides or [], dry_run=dry_run, home_given=home,
    )  # fmt: skip


@app.command(
    epilog="Examples:\n\n`proofmill improve`\n\n`proofmill improve my.yaml --set improve.rounds=5 --dry-run`\n\n"
    "`proofmill improve improve-quickstart --set improve.budget.hours=2 --json`",
)
def improve(
    recipe: Annotated[str, typer.Argument(help="A bundled recipe or a YAML file.")] = "improve-quickstart",
    home: Home = None,
    overrides: shared.Overrides = None,
    as_json: shared.AsJson = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; do nothing.")] = False,
    debug: Debug = False,  # noqa: ARG001 (read by `main`)
) -> None:
    """Improve a model in rounds: sample, train, measure, and again with the student, while there is a gain. Resumes."""
    from proofmill.flows.commands.improve import run
    from proofmill.flows.context import home_folder
    from proofmill.flows.recipe import load as recipe_file

    resolved = recipe_file.load(recipe, overrides or [])
    run(resolved, home_folder(home, "improve"), out, as_json=as_json, dry_run=dry_run, home_given=home)


@app.command(
    epilog="Examples:\n\n`proofmill merge arithmetic@v1 logic@v1 --out both`\n\n"
    "`proofmill merge arithmetic@v1 logic@v1 --weights 0.7,0.3 --out both`",
)
def merge(
    names: Annotated[list[str], typer.Argument(metavar="MODELS...", help="Two models or more, all of one base.")],
    name: Annotated[str, typer.Option("--out", help="Name of the merged model.")],
    weights: Annotated[str | None, typer.Option(help="A weight of each, with commas; else all alike.")] = None,
    home: Home = None,
    debug: Debug = False,  # noqa: ARG001 (read by `main`)
) -> None:
    """Average the weights of models, of specialists for example, and record the result as a model of its own."""
    from proofmill.flows.commands.train import run_merge
    from proofmill.flows.context import home_folder

    run_merge(home_folder(home, "merge"), names, name, weights, out, home_given=home)


@app.command(
    epilog="Examples:\n\n`proofmill push quickstart --repo me/sums`\n\n"
    "`proofmill push quickstart@v2 --repo me/sums --public --dry-run`"
)
def push(
    version: Annotated[str, typer.Argument(help="NAME@vN, or NAME: its newest version.")],
    repo: Annotated[str, typer.Option("--repo", metavar="USER/NAME", help="Created if it does not exist.")],
    public: Annotated[bool, typer.Option("--public", help="Make the repository public; else it is private.")] = False,
    token: Annotated[
        str | None, typer.Option("--token", help="Else $HF_TOKEN, or that of `hf auth login`.", show_default=False)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent; send nothing.")] = False,
    home: Home = None,
    debug: Debug = False,  # noqa: ARG001 (read by `main`)
) -> None:
    """Push a version to the Hugging Face hub: upload its files, compare hashes there, then set the tag `vN`."""
    from proofmill.flows.commands.push import run
    from proofmill.flows.context import home_folder

    run(home_folder(home), version, repo, token, public=public, dry_run=dry_run, console=out)


@app.command(
    epilog="Examples:\n\n`proofmill route mixed --price small=0.10 --price large=2.50`\n\n"
    "`proofmill route mixed@v2 --price small=0.10 --price large=2.50 --budget 1 --budget 8 --below 0 --below 0.25`\n\n"
    "`proofmill route mixed --price small=0.10 --price large=2.50,0.50 --through small,large --out policy.json`"
)
def route(
    version: Annotated[str, typer.Argument(help="NAME or NAME@vN, with samples of several models.")],
    home: Home = None,
    prices: Annotated[
        list[str] | None,
        typer.Option(
            "--price",
            metavar="MODEL=MONEY[,READ]",
            help="Price of a million completion tokens, then of a million prompt tokens; default: the recipe's.",
        ),
    ] = None,
    through: Annotated[
        list[str] | None,
        typer.Option(metavar="SMALL,LARGE", help="Only this order of models; repeatable. None: all orders of two."),
    ] = None,
    budgets: Annotated[
        list[int] | None, typer.Option("--budget", min=1, help="Samples of the first model; repeatable.")
    ] = None,
    below: Annotated[
        list[float] | None,
        typer.Option(min=0.0, max=1.0, help="Pass rate up to which a problem goes on; repeatable. None: 0."),
    ] = None,
    large_only: Annotated[
        list[str] | None, typer.Option(help="A domain that skips the first model; repeatable.")
    ] = None,
    show_all: Annotated[bool, typer.Option("--all", help="Also policies that another one beats.")] = False,
    as_json: shared.AsJson = False,
    out_file: Annotated[
        Path | None, typer.Option("--out", help="Write the policy file of the one policy that --through names.")
    ] = None,
    debug: Debug = False,  # noqa: ARG001 (read by `main`)
) -> None:
    """Replay routing policies on recorded samples of several models: cost against solved problems; samples nothing."""
    from proofmill.flows.commands.route import RouteRequest, parse_prices, run
    from proofmill.flows.context import home_folder

    request = RouteRequest(
        parse_prices(prices or []),
        [tuple(name.strip() for name in chain.split(",")) for chain in through or []],
        budgets or (),
        below or (),
        tuple(large_only or ()),
    )
    run(home_folder(home), version, request, out, show_all=show_all, as_json=as_json, out_file=out_file)


@app.command(epilog="Examples:\n\n`proofmill doctor`\n\n`proofmill doctor my.yaml --json`")
def doctor(
    recipe: Annotated[str, typer.Argument(help="A bundled recipe or the path of a YAML file.")] = "quickstart",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: ok, and name, status, found, remedy.")] = False,
    home: Home = None,
    cluster: Cluster = None,
    debug: Debug = False,  # noqa: ARG001 (read by `main`)
) -> None:
    """Check what would break a run here: libraries, machine, model, sandbox, disk, services; each with a remedy."""
    from proofmill.flows.commands.doctor import examine
    from proofmill.flows.context import home_folder
    from proofmill.flows.recipe import load as recipe_file

    if not examine(recipe_file.load(recipe, [], cluster), home_folder(home), out, as_json=as_json):
        raise typer.Exit(1)


@app.command(
    epilog="Examples:\n\n`proofmill report quickstart`\n\n`proofmill report quickstart@v2 --out v2.html`\n\n"
    "`proofmill report quickstart --funnel --out funnel.svg`"
)
def report(
    version: Annotated[str, typer.Argument(help="NAME@vN, or NAME: its newest version.")],
    out_file: Annotated[Path | None, typer.Option("--out", help="The file to write; else NAME-vN.html here.")] = None,
    funnel: Annotated[bool, typer.Option("--funnel", help="Write only the picture of the funnel, as SVG.")] = False,
    home: Home = None,
    debug: Debug = False,  # noqa: ARG001 (read by `main`)
) -> None:
    """Make the HTML report of a version again, from its folder alone; the version itself is not changed."""
    from proofmill.flows.commands.show import write_report
    from proofmill.flows.context import home_folder

    write_report(home_folder(home), version, out_file, out, funnel=funnel)


@app.command(
    epilog="Examples:\n\n`proofmill diff quickstart@v1 quickstart@v2`\n\n"
    "`proofmill diff quickstart@v1 other@v3 --rows 5`\n\n`proofmill diff quickstart@v1 quickstart@v2 --json`"
)
def diff(
    before: Annotated[str, typer.Argument(help="NAME@vA, or NAME: its newest version.")],
    after: Annotated[str, typer.Argument(help="NAME@vB, of the same data set or of another.")],
    rows: Annotated[int, typer.Option(min=0, help="Example rows of each difference.")] = 0,
    as_json: shared.AsJson = False,
    home: Home = None,
    debug: Debug = False,  # noqa: ARG001 (read by `main`)
) -> None:
    """List rows that were added, removed, or have another verdict or stage, each with its cause."""
    from proofmill.flows.commands.diff import run
    from proofmill.flows.context import home_folder

    run(home_folder(home), before, after, rows, as_json, out)


def main() -> None:
    """Run the command line: errors say what, where and what to do next; tracebacks only with `--debug`."""
    debug = "--debug" in sys.argv
    # Custom verifiers stand beside the recipe; last, so that no file of the user's shadows a library.
    sys.path.append(str(Path.cwd()))
    if logging.lastResort is not None:  # warnings that no file takes go to the terminal
        logging.lastResort.setFormatter(InertFormatter())
    home = _option(sys.argv, "--home") or os.environ.get("PROOFMILL_HOME") or "proofmill-home"
    try:
        configure(mirror_folder(home) if is_address(home) else Path(home).expanduser(), debug=debug)
        app()
    except ProofmillError as error:
        _say(error, debug=debug)
        sys.exit(error.exit_code)
    except SystemExit as stop:
        if stop.code != _INTERRUPTED:
            raise
        again = escape(typed(*sys.argv[1:]))
        kept = "Nothing was written. To begin again" if sys.argv[1] in _STREAMING else "What is done is kept. To go on"
        err.print(f"[yellow]Stopped.[/] {kept}, type:\n  {again}", soft_wrap=True)
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        err.print(
            f"[red]error:[/] {type(error).__name__}: {escape(str(error))}\n  next:  this is a fault of proofmill's; "
            "run again with --debug and report what it prints. What is done is kept.",
            soft_wrap=True,
        )
        sys.exit(1)


def _say(error: ProofmillError, *, debug: bool) -> None:
    if debug:
        err.print_exception()
    err.print("[red]error:[/]", escape(str(error)), soft_wrap=True)


if __name__ == "__main__":
    main()
