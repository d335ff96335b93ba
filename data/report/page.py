"""report.html: one self-contained file about one version, made from its folder alone.

Rows are read as streams; a bounded number of traces of each fate (verdict and drop reason) is shown. Everything that a
model wrote is data inside a JSON block and reaches the page as text only; the page's content security policy forbids
every request and every other script.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import orjson
import polars as pl
from markupsafe import Markup

from proofmill.data.card import funnel_by_operator
from proofmill.data.differences import parts, rows_in
from proofmill.data.manifest import EARLIER_FILTERS, Benchmarks, Manifest, VoteRates
from proofmill.data.report import plots
from proofmill.data.tables import batches
from proofmill.data.versions import Version

_TEMPLATES = Path(__file__).parent / "templates"
_BINS = 16
_VERDICTS = ("correct", "wrong", "unparsed", "timeout", "error")
_STEPS = ("right answer", "sound", "new", "kept")
_REPEATED = {
    "near_duplicate": "left out for it",
    "in_previous": "in earlier versions",
    "contaminated": "contaminated",
}
_STATUSES = ("verified", "refuted", "unsupported", "jump", "retracted", "not_checkable")
_AT_K = {"pass_1": "pass@1", "maj_k": "maj@k", "clr_k": "clr@k"}
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")


def render(version: Version) -> str:
    """Return the report page of a version as HTML."""
    rows = [{name: visible(value) for name, value in row.items()} for row in sampled_rows(version)]
    return filled(
        "report.html",
        script=(_TEMPLATES / "report.js").read_text(encoding="utf-8"),
        title=version.label,
        label=version.label,
        created=version.manifest.created.replace("T", " ").removesuffix("+00:00") + " UTC",
        manifest=version.manifest,
        rows=Markup(_embedded(rows)),  # noqa: S704 (no markup left in it)
        shown=len(rows),
        operators=funnel_by_operator(version.manifest),
        **_figures(version),
    )


def funnel(version: Version, *, alone: bool = False) -> str:
    """Return the picture of where every trace went, as SVG; `alone` makes it a file of its own."""
    manifest = version.manifest
    ends = {name: manifest.published_rows.get(name, 0) for name in ("sft_stage1", "sft_stage2", "rl")}
    return plots.funnel(manifest.selection, ends, _steps(manifest), alone=alone)


def _steps(manifest: Manifest) -> plots.Steps:
    """Drop reasons by step of the funnel. What is of no filter, such as a cap, falls off last."""
    steps: dict[str, list[str]] = {name: [] for name in _STEPS}
    earlier = {record.name: record.shown_as for record in EARLIER_FILTERS}
    for record in manifest.filters:
        steps[record.shown_as or earlier.get(record.name) or "sound"].extend(record.reasons)
    return list(steps.items())


def _figures(version: Version) -> dict[str, Any]:
    manifest = version.manifest
    kept = manifest.selection.kept
    tokens = manifest.tokens.sampled
    seconds = {name: took for name, took in manifest.seconds.items() if took}
    pictures = {
        "funnel": funnel(version),
        "waterfall": plots.waterfall(manifest.selection, _steps(manifest)),
        "verdicts": plots.mix(_verdicts(version)),
        "pass_rates": {d: plots.histogram({d: counts}, _RATES, 5, 130) for d, counts in _pass_rates(version).items()},
        "lengths": _lengths(version),
        "claims": plots.bars(claims) if (claims := _claims(version)) else "",
        "votes": _votes(manifest),
        "repeats": plots.bars(_repeats(version)),
        "tokens": plots.bars(written) if (written := _tokens(version)) else "",
        "seconds": plots.bars(seconds, "s") if seconds else "",
    }
    numbers = {
        "traces": f"{manifest.selection.entered:,}",
        "proven and kept": f"{kept:,}",
        "right answer, refuted step": f"{manifest.right_answer_refuted_step:,}",
    }
    if tokens and kept:
        numbers |= {"tokens sampled": f"{tokens:,}", "tokens per kept trace": f"{tokens / kept:,.0f}"}
        if (took := seconds.get("samples", 0.0) / kept) >= 0.005:  # less: an earlier run had recorded them
            numbers["sampling seconds per kept trace"] = f"{took:,.2f}"
    numbers |= _verifier(manifest)
    return {
        "pictures": {name: _markup(value) for name, value in pictures.items()},
        "numbers": numbers,
        "benchmarks": _benchmarks(manifest.benchmarks),
        "recipe": orjson.dumps(manifest.shown_recipe, option=orjson.OPT_INDENT_2).decode(),
    }


def _verifier(manifest: Manifest) -> dict[str, str]:
    """Return what the claim judge did and what it cost, in words; empty where no model was asked."""
    numbers = {}
    if manifest.clr:
        tokens = manifest.tokens.verifier
        numbers["traces judged by the model"] = f"{manifest.clr.counts.get('scored', 0):,}"
        numbers["verifier tokens"] = f"{tokens.prompt_tokens + tokens.completion_tokens:,}"
    rates = _rates(manifest.at_k)
    return numbers | {label: f"{rates[name]:.1%}" for name, label in _AT_K.items() if name in rates}


def _rates(votes: VoteRates | None) -> dict[str, float]:
    """Return the measured rates by name."""
    return {name: rate for name in _AT_K if (rate := getattr(votes, name, None)) is not None}


def _votes(manifest: Manifest) -> str:
    """Return a plot of how often the vote of k samples is right, by k; empty where there is only one k."""
    if manifest.at_k is None or len(manifest.at_k.by_k) < 2:
        return ""
    rates, curve = _rates(manifest.at_k), {k: _rates(point) for k, point in manifest.at_k.by_k.items()}
    series = {_AT_K[name]: [point[name] for point in curve.values()] for name in ("clr_k", "maj_k") if name in rates}
    return plots.lines(series | {_AT_K["pass_1"]: [rates["pass_1"]] * len(curve)}, [f"k = {k}" for k in curve])


def _markup(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _markup(item) for name, item in value.items()}
    return Markup(value)  # noqa: S704 (our own pictures, their text escaped there)


_RATES = ["0", "0.1", "0.2", "0.3", "0.4", "½", "0.6", "0.7", "0.8", "0.9", "1"]


def _counts(frame: pl.LazyFrame | None, *columns: str | pl.Expr) -> list[tuple[Any, ...]]:
    if frame is None:
        return []
    return sorted(frame.group_by(*columns).len().collect(engine="streaming").iter_rows(), key=repr)


def _verdicts(version: Version) -> dict[str, dict[str, int]]:
    """Return the traces of each verdict, by domain."""
    by_domain: dict[str, dict[str, int]] = {}
    for domain, verdict, count in _counts(version.scan("traces"), "domain", "verdict"):
        by_domain.setdefault(domain or "?", dict.fromkeys(_VERDICTS, 0))[verdict] = count
    return {d: {v: n for v, n in counts.items() if n} for d, counts in by_domain.items()}


def _pass_rates(version: Version) -> dict[str, list[int]]:
    """Return histograms of the problems' pass rates by domain, in eleven bins from never to always."""
    rates, problems = version.scan("pass_rates"), version.scan("problems")
    if rates is None or problems is None:
        return {}
    named = problems.select(pl.col("id").alias("problem_id"), "domain")
    step = (pl.col("correct") / pl.col("n") * 10).round().cast(pl.Int32).alias("step")
    by_domain: dict[str, list[int]] = {}
    judged = rates.filter(pl.col("n") > 0)
    for part in parts("problem_id", rows_in(version, "pass_rates")):
        joined = judged.filter(part).join(named.filter(part), on="problem_id").select("domain", step)
        for domain, number, count in _counts(joined, "domain", "step"):
            by_domain.setdefault(domain, [0] * 11)[number] += count
    return by_domain


def _lengths(version: Version) -> dict[str, Any]:
    """Return the completion lengths of both stages on one scale: tokens, or characters where no tokenizer counted."""
    stages = {f"stage {n}": version.scan(f"sft_stage{n}") for n in (1, 2)}
    frames = {name: frame for name, frame in stages.items() if frame is not None}
    for unit, length in (("tokens", _tokens_of), ("characters", _characters_of)):
        lengths = {name: frame.select(length(frame).alias("length")) for name, frame in frames.items()}
        longest = max((_most(frame) for frame in lengths.values()), default=0)
        if longest:
            return {"unit": unit, "picture": _spread(lengths, longest)}
    return {}


def _tokens_of(_: pl.LazyFrame) -> pl.Expr:
    return pl.col("completion_tokens")


def _characters_of(frame: pl.LazyFrame) -> pl.Expr:
    text = pl.col("completion")
    rendered = frame.collect_schema()["completion"] == pl.String
    return (text if rendered else text.list.last().struct.field("content")).str.len_chars().cast(pl.Int64)


def _most(lengths: pl.LazyFrame) -> int:
    return lengths.select(pl.col("length").max()).collect(engine="streaming").item() or 0


def _spread(lengths: dict[str, pl.LazyFrame], longest: int) -> str:
    edges = [f"{max(1, longest * (i + 1) // _BINS):,}" for i in range(_BINS)]
    bin_number = ((pl.col("length").cast(pl.Int64) - 1) * _BINS // longest).clip(0, _BINS - 1).alias("bin")
    series = {name: [0] * _BINS for name in lengths}
    for name, frame in lengths.items():
        for number, count in _counts(frame.drop_nulls().select(bin_number), "bin"):
            series[name][number] = count
    return plots.histogram(series, edges, 3, 170)


def _claims(version: Version) -> dict[str, float]:
    counts: dict[str, float] = dict(_counts(version.scan("claims"), "status"))
    return {name: counts.pop(name) for name in _STATUSES if name in counts} | counts


def _repeats(version: Version) -> dict[str, float]:
    """Return how many traces repeat another trace, an earlier version or a benchmark, and how many were dropped for
    it.
    """
    dropped = version.manifest.selection.dropped
    counts: dict[str, float] = {"near-duplicates": version.manifest.duplicates}
    counts |= {name: dropped[reason] for reason, name in _REPEATED.items() if reason in dropped}
    return counts | {f"overlap: {name}": count for name, count in _contamination(version).items()}


def _benchmarks(benchmarks: Benchmarks | None) -> str:
    """Return in words which benchmarks prompts and traces were compared with."""
    if not benchmarks or not benchmarks.items:
        return "Not compared with any benchmark."
    names = ", ".join(f"{name} ({count:,} items)" for name, count in benchmarks.items.items())
    return f"Compared with {names}: runs of {benchmarks.n} words."


def _contamination(version: Version) -> dict[str, float]:
    """Return the overlapping traces by benchmark, the ten most frequent."""
    traces = version.scan("traces")
    if traces is None or "contaminated_by" not in traces.collect_schema().names():
        return {}
    name = pl.col("contaminated_by").str.split("/").list.first()
    counts = _counts(traces.drop_nulls("contaminated_by").select(name), "contaminated_by")
    return dict(sorted(counts, key=lambda pair: -pair[1])[:10])


def _tokens(version: Version) -> dict[str, float]:
    """Return completion tokens by sampler, and those of the model that judged claims."""
    traces = version.scan("traces")
    if traces is None:
        return {}
    total = traces.group_by("sampler").agg(pl.col("completion_tokens").cast(pl.Int64).sum())
    written = {name: count for name, count in sorted(total.collect(engine="streaming").iter_rows()) if count}
    judged = version.manifest.tokens.verifier.completion_tokens
    return written | ({"claims by the model": judged} if judged else {})


def visible(value: Any) -> Any:
    """Return the value with invisible and direction-changing characters written as their code points."""
    if not isinstance(value, str):
        return value
    return _HIDDEN.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", value)


def _embedded(rows: list[dict[str, Any]]) -> str:
    """Return the rows as JSON in which nothing can end the script block around it."""
    text = orjson.dumps(rows).decode()
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def filled(template: str, *, script: str = "", **values: Any) -> str:
    """Return a page of ours: a template with its values, the style of all pages and at most one script.

    Values reach it as escaped text; its content security policy forbids every request and every other script.
    """
    style = plots.STYLE + (_TEMPLATES / "report.css").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        keep_trailing_newline=True,
    )
    environment.filters |= _NUMBERS
    return environment.get_template(template).render(
        style=Markup(style),  # noqa: S704 (our own file)
        script=Markup(script),  # noqa: S704 (our own file)
        style_digest=style_digest(style),
        script_digest=style_digest(script),
        **values,
    )


def _percent(value: float) -> str:
    return f"{value:.1%}"


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"


def _estimate(value: Mapping[str, float]) -> str:
    return f"{value['value']:.1%} [{value['low']:.1%}, {value['high']:.1%}]"


_NUMBERS = {"percent": _percent, "points": _points, "estimate": _estimate}
"""What templates write numbers with."""


def style_digest(text: str) -> str:
    """Return what a page's policy calls a style or script that it may use."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


# --- traces to read: some of every fate, the same ones each time, in one pass -----------------------------------------

ROWS_A_FATE = 40
MAX_ROWS = 300
MAX_BYTES = 3_000_000
_HEAD, _TAIL = 4_000, 1_500
_CLAIMS = 3  # of a trace
_FATE = ["verdict", "drop_reason"]
_SAMPLED = ("id", "problem_id", "domain", "sampler", "model", "response")
_FATES = ("stage", "drop_reason", "completion_tokens", "finish_reason")


def sampled_rows(version: Version, a_fate: int = ROWS_A_FATE) -> list[dict[str, Any]]:
    """Return up to `a_fate` traces of each verdict and drop reason, with their problem and their refuted claims.

    A hash of the id decides which ones, so that a version always shows the same. Long texts keep their beginning and
    end; at most `MAX_ROWS` rows and about `MAX_BYTES` bytes, taken in turn from every fate.
    """
    candidates = _candidates(version, a_fate)
    if candidates.is_empty():
        return []
    ids = candidates["id"].to_list()[:MAX_ROWS]
    refuted = refuted_claims(version, ids)
    rows, size = [], 0
    for row in traces_of(version, ids):
        claims = [f"{claim['text']} ({claim['evidence']})" for claim in refuted.get(row["id"], ())]
        full = row | {"evidence": "\n".join(claims[:_CLAIMS]) or None}
        short = {name: _cut(value) for name, value in full.items() if value is not None}
        size += sum(len(value.encode()) for value in short.values() if isinstance(value, str))
        if size > MAX_BYTES:
            break
        rows.append(short)
    return rows


def _candidates(version: Version, a_fate: int) -> pl.DataFrame:
    """Return trace ids, the first of every fate before the second of any."""
    best = pl.DataFrame(schema={"id": pl.String, "verdict": pl.String, "drop_reason": pl.String, "rank": pl.UInt64})
    for path in version.files("traces"):
        for table in batches(path, ["id", *_FATE], rows=65_536):
            frame = pl.DataFrame(table).with_columns(pl.col("id").hash(seed=0).alias("rank"))
            best = pl.concat([best, frame]).sort("rank", "id").group_by(_FATE, maintain_order=True).head(a_fate)
            best = best.select("id", *_FATE, "rank")
    turn = pl.int_range(pl.len()).over(_FATE).alias("turn")
    return best.sort("rank", "id").with_columns(turn).sort("turn", *_FATE)


def traces_of(version: Version, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return the traces with these ids, in that order, with the prompt and the answer of their problem.

    Ids that the version does not have are left out.
    """
    traces = version.scan("traces")
    if traces is None or not ids:
        return []
    present = traces.collect_schema().names()
    columns = [name for name in _columns(version) if name in present]
    table = traces.filter(pl.col("id").is_in(list(ids))).select(columns).collect(engine="streaming")
    rows = {row["id"]: row for row in table.iter_rows(named=True)}
    problems = _problems(version, table["problem_id"].unique().to_list())
    return [rows[name] | problems.get(rows[name]["problem_id"], {}) for name in ids if name in rows]


def _columns(version: Version) -> list[str]:
    """Return the columns to show of a trace: who wrote it, and what each filter found."""
    judged = [
        name
        for record in version.manifest.filters
        for name in (*record.adds, *(column for columns in record.reasons.values() for column in columns))
    ]
    return list(dict.fromkeys((*_SAMPLED, *judged, *_FATES)))


def _problems(version: Version, ids: list[str]) -> dict[str, dict[str, Any]]:
    scan = pl.scan_parquet(version.files("problems")).filter(pl.col("id").is_in(ids))
    rows = scan.select("id", "prompt", "answer").collect(engine="streaming")
    return {name: {"prompt": prompt, "answer": answer} for name, prompt, answer in rows.iter_rows()}


def refuted_claims(version: Version, trace_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the refuted claims of these traces by trace id, each with the columns of config `claims`."""
    claims = version.scan("claims")
    if claims is None:
        return {}
    refuted = claims.filter((pl.col("status") == "refuted") & pl.col("trace_id").is_in(list(trace_ids)))
    by_trace: dict[str, list[dict[str, Any]]] = {}
    for row in refuted.collect(engine="streaming").iter_rows(named=True):
        by_trace.setdefault(row["trace_id"], []).append(row)
    return by_trace


def _cut(value: Any) -> Any:
    if not isinstance(value, str) or len(value) <= _HEAD + _TAIL:
        return value
    return f"{value[:_HEAD]}\n\n[… {len(value) - _HEAD - _TAIL:,} characters …]\n\n{value[-_TAIL:]}"
