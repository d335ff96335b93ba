"""MinHash signatures of what a shard holds, made in the run's worker processes."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from proofmill.data.run import Shard
from proofmill.filters.duplicates.minhash import DedupOptions
from proofmill.flows.run.session import Session
from proofmill.flows.stages import work


def signed(session: Session, shard: Shard, text: str, names: Sequence[str], options: DedupOptions) -> pa.Table:
    """Signature and hashed shingles of each row of a shard, behind the columns that name it.

    Args:
        session: the run.
        shard: holds the texts.
        text: the column that is signed.
        names: the columns that come first.
        options: how texts are signed.

    Raises:
        VerifierError: a text could not be signed.
    """
    table = session.run.read(shard, [*names, text])
    parts = [(part, options) for part in work.chunks(table[text].to_pylist())]
    found = pa.concat_tables(session.pools.spread(work.signed, parts))
    for place, name in enumerate(names):
        found = found.add_column(place, table.schema.field(name), table[name])
    return found
