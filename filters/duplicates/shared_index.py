"""The near-duplicate index that several machines share: datasketch's `MinHashLSH` in Redis.

For runs on many machines that must not repeat each other before a gather joins them. Signatures are
ours, which are datasketch's, so any program with datasketch can use the same index. The hashed
shingle sets stand beside it, so that every candidate is confirmed. Ids are stored as plain bytes:
datasketch's default would unpickle what it reads from the server.

Rows are first added, then looked up: of two near-duplicates added at the same time at least one
then sees the other. Memory of the server: about 200 bytes a band and 4 bytes a shingle for a row.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa

from proofmill.data.errors import InputError, UsageError
from proofmill.filters.arrow_arrays import to_numpy
from proofmill.filters.duplicates.minhash import DedupOptions
from proofmill.filters.duplicates.signature_rows import Relation
from proofmill.filters.windows import U32


class SharedIndex:
    """Near-duplicates across machines, at `threshold_across`.

    Args:
        options: as for the signatures; every user of a name must bring the same.
        url: of the Redis server, redis://[:PASSWORD@]HOST[:PORT][/DATABASE].
        name: of the index; rows of other names are never seen.

    Raises:
        UsageError: redis isn't installed, or the URL is no Redis URL.
        InputError: the index was begun with other options.
        redis.exceptions.RedisError: the server can't be reached.
    """

    def __init__(self, options: DedupOptions, url: str, name: str = "proofmill") -> None:
        self._options = options
        self._prefix = name.encode() + b":"
        server = _server(url)
        self._redis = _redis_client(server)
        self._lsh = _lsh(options, self._prefix, server)
        self._claim_options()

    def add(self, ids: list[str], signed: pa.Table) -> None:
        """Adds rows; a row whose id is there already is left as it is.

        Args:
            ids: the rows' ids, unique over all machines.
            signed: their signatures, as `minhash.signatures` gives them.
        """
        rows = zip(ids, self._matrix(signed), _sets(signed), strict=True)
        with self._lsh.insertion_session() as session:
            for row_id, signature, shingles in rows:
                # The set goes first: whoever finds the row in a bucket can confirm it.
                if self._redis.set(self._set_key(row_id), shingles.astype("<u4").tobytes(), nx=True):
                    session.insert(row_id.encode(), self._minhash(signature), check_duplication=False)

    def near(self, ids: list[str], signed: pa.Table) -> list[list[tuple[str, float]]]:
        """For each row the other rows of the index that are near-duplicates of it.

        Returns:
            (id, Jaccard similarity) of each, most similar first, then by id.
        """
        rows = zip(ids, self._matrix(signed), _sets(signed), strict=True)
        return [self._confirmed(row_id, signature, shingles) for row_id, signature, shingles in rows]

    def _confirmed(self, row_id: str, signature: U32, shingles: U32) -> list[tuple[str, float]]:
        candidates = [key.decode() for key in self._lsh.query(self._minhash(signature))]
        others = sorted(set(candidates) - {row_id})
        found = []
        for other, stored in zip(others, self._stored(others), strict=True):
            shared = len(np.intersect1d(shingles, stored, assume_unique=True))
            similarity = shared / (len(shingles) + len(stored) - shared)
            if similarity >= self._options.threshold_across:
                found.append((other, similarity))
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))

    def _stored(self, ids: list[str]) -> list[U32]:
        raw = self._redis.mget([self._set_key(row_id) for row_id in ids]) if ids else []
        return [np.frombuffer(value or b"", "<u4") for value in raw]

    def _set_key(self, row_id: str) -> bytes:
        return self._prefix + b"shingles:" + row_id.encode()

    def _minhash(self, signature: U32) -> Any:
        from datasketch import LeanMinHash

        return LeanMinHash(scheme="affine32", seed=self._options.seed, hashvalues=signature)

    def _matrix(self, signed: pa.Table) -> U32:
        raw = b"".join(signed.column("signature").to_pylist())
        return np.frombuffer(raw, "<u4").reshape(-1, self._options.permutations)

    def _claim_options(self) -> None:
        """Records the options with the first user, and compares them with everyone else's."""
        key, mine = self._prefix + b"options", self._options.signature_key()
        mine += f" threshold {self._options.threshold_across}".encode()
        self._redis.set(key, mine, nx=True)
        theirs = self._redis.get(key)
        if theirs != mine:
            raise InputError(
                f"the shared index was begun with {theirs!r}, not {mine!r}",
                where=self._prefix.decode(),
                remedy="use the same dedup options on every machine, or another name for the index",
            )


def _sets(signed: pa.Table) -> list[U32]:
    return [to_numpy(shingles.values) for shingles in signed.column("shingles")]


def _server(url: str) -> dict[str, Any]:
    """Connection arguments, the same for datasketch's connections and ours."""
    parts = urlsplit(url)
    if parts.scheme not in ("redis", "rediss") or not parts.hostname:
        raise UsageError(f"{url!r} is no Redis URL", where="shared index", remedy="write redis://HOST:PORT/0")
    database = parts.path.strip("/")
    return {
        "host": parts.hostname,
        "port": parts.port or 6379,
        "db": int(database) if database.isdecimal() else 0,
        "password": parts.password,
        "ssl": parts.scheme == "rediss",
    }


def _redis_client(server: dict[str, Any]) -> Any:
    try:
        import redis
    except ImportError as error:
        raise UsageError(
            "the shared index needs the redis client", where="shared index", remedy="pip install redis"
        ) from error
    return redis.Redis(**server)


def _lsh(options: DedupOptions, prefix: bytes, server: dict[str, Any]) -> Any:
    from datasketch import MinHashLSH

    bands, width = Relation(options.threshold_across, None).bands(options.permutations)
    if bands < 2:  # datasketch wants two bands at least
        bands, width = 2, options.permutations // 2
    storage = {"type": "redis", "basename": prefix + b"lsh", "redis": server}
    return MinHashLSH(num_perm=options.permutations, params=(bands, width), storage_config=storage, prepickle=False)
