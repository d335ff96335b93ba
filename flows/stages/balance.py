"""What the selection decides over all shards: caps of the whole run, and the problems that are held out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from proofmill.data.run import Facts, Shard
from proofmill.filters import caps, selection
from proofmill.filters.duplicates.minhash import DedupOptions
from proofmill.filters.duplicates.near_duplicates import clusters
from proofmill.filters.holdout import HELD_OUT, held_out
from proofmill.flows.recipe.options import caps_options
from proofmill.flows.run.session import Session
from proofmill.flows.stages.keys import BALANCE, CAPS, HOLDOUT, PROMPTS
from proofmill.flows.stages.signing import signed

if TYPE_CHECKING:
    from proofmill.flows.stages.tasks import Judged


@task(cache_policy=NO_CACHE)
def limits(session: Session, chosen: Sequence[Shard]) -> Shard | None:
    """Where the caps of the whole run cut: a line a domain. None where there is no such cap."""
    options = caps_options(session.recipe)
    if not options.any:
        return None

    def make() -> tuple[pa.Table, Facts]:
        found = caps.caps(pl.concat(_offered(session, shard) for shard in chosen), options)
        return found.to_arrow().cast(caps.CAPS), {}

    shard = session.run.once(CAPS, "all", CAPS.key([choice.key for choice in chosen], repr(options)), make)
    there = set(session.run.read(shard, ["domain"])["domain"].to_pylist())
    if absent := sorted(name for name, share in options.mix if share and name not in there):
        session.progress.warn(f"select.mix names domains without a kept trace: {', '.join(absent)}")
    return shard


def _offered(session: Session, shard: Shard) -> pl.DataFrame:
    """The small columns of a shard's kept traces."""
    frame = pl.DataFrame(session.run.read(shard, [*caps.CANDIDATES.names, "drop_reason"]))
    return frame.filter(pl.col("drop_reason").is_null()).select(caps.CANDIDATES.names)


@task(cache_policy=NO_CACHE, task_run_name="balance-{chosen.name}")
def balanced(session: Session, chosen: Shard, found: Shard | None) -> Shard:
    """A shard's selection under the caps of the whole run."""
    if found is None:
        return chosen

    def make() -> tuple[pa.Table, Facts]:
        offered, cuts = (pl.DataFrame(session.run.read(shard)) for shard in (chosen, found))
        table = selection.capped(offered, cuts).to_arrow().cast(selection.SELECTION)
        return table, chosen.facts | {"ledger": selection.ledger(table["drop_reason"].to_pylist())}

    return session.run.once(BALANCE, chosen.name, BALANCE.key(chosen.key, found.key), make)


@task(cache_policy=NO_CACHE)
def holdout(session: Session, judged: Sequence[Judged]) -> Shard | None:
    """The problems of the validation split; None where none is asked for."""
    section = session.recipe.select
    if not section.holdout:
        return None
    options = DedupOptions(threshold_across=section.holdout_threshold)
    prompts = [_signed_prompts(session, shard.problems, options) for shard in judged]

    def make() -> tuple[pa.Table, Facts]:
        found = clusters((session.run.read(shard) for shard in prompts), options)
        out = held_out(pl.DataFrame(found), section.holdout, session.recipe.seed)
        return out.to_arrow().cast(HELD_OUT), {
            "clusters": len(found["cluster_id"].unique()),
        }

    decided = (section.holdout, section.holdout_threshold, session.recipe.seed)
    shard = session.run.once(HOLDOUT, "all", HOLDOUT.key([shard.key for shard in prompts], decided), make)
    if not shard.rows:
        session.progress.warn("select.holdout: no cluster of problems was drawn, so there is no validation split")
    return shard


def _signed_prompts(session: Session, problems: Shard, options: DedupOptions) -> Shard:
    def make() -> tuple[pa.Table, Facts]:
        return signed(session, problems, "prompt", ("id",), options), {}

    key = PROMPTS.key(problems.content, options.signature_key().decode())
    return session.run.once(PROMPTS, problems.name, key, make)
