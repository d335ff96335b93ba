"""The near-duplicate index that several machines share: datasketch's `MinHashLSH` in Redis.

For runs on many machines that must not repeat each other before a gather joins them. Signatures are
ours, which are datasketch's, so any program with datasketch can use the same index. The hashed
shingle sets stand beside it, so that every candidate is confirmed. Ids are stored as plain bytes:
datasketch's default would unpickle what it reads from the server.

Rows are first added, then given their turn, then looked up: of two near-duplicates the one whose turn is
later sees the other, however the machines interleave. Memory of the server: about 200 bytes a band and
4 bytes a shingle for a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa

from proofmill.data.errors import InputError, StoreError, UsageError
from proofmill.filters.near_duplicates.minhash import SEED, DedupOptions
from proofmill.filters.near_duplicates.signed_parts import PairRule
from proofmill.filters.rolling_hash import U32, to_numpy

# A row's place in the order of arrival, given once: KEYS turn numbers and counter, ARGV the row's id.
_TURN = """
local turn = redis.call('HGET', KEYS[1], ARGV[1])
if not turn then
  turn = redis.call('INCR', KEYS[2])
  redis.call('HSET', KEYS[1], ARGV[1], turn)
end
return tonumber(turn)
"""


class SharedIndex:
    """Near-duplicates across machines, at `threshold_across`.

    Args:
        options: as for the signatures; every user of a name must bring the same.
        url: of the Redis server, redis://[:PASSWORD@]HOST[:PORT][/DATABASE].
        name: of the index; rows of other names are never seen.

    Raises:
        UsageError: redis isn't installed, or the URL is no Redis URL.
        InputError: the index was begun with other options.
        StoreError: the server can't be reached, here and in every method.
    """

    def __init__(self, options: DedupOptions, url: str, name: str = "proofmill") -> None:
        self._options, self._url = options, url.rpartition("@")[2]  # without its password
        self._prefix = name.encode() + b":"
        server = _server(url)
        self._redis = _redis_client(server)
        self._turns = self._redis.register_script(_TURN)
        with self._reached():
            self._lsh = _lsh(options, self._prefix, server)
            self._claim_options()

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """A server that fails, as an error with a remedy."""
        from redis.exceptions import RedisError

        try:
            yield
        except RedisError as error:
            raise StoreError(
                f"The shared index can't be used: {error}",
                where=self._url,
                remedy="check that the Redis server runs and has memory; then run the same command again: what the "
                "index holds stays",
            ) from error

    def add(self, ids: list[str], signed: pa.Table) -> None:
        """Add rows; a row whose id is there already is left as it is.

        Args:
            ids: the rows' ids, unique over all machines.
            signed: their signatures, as `minhash.signatures` gives them.
        """
        rows = zip(ids, self._matrix(signed), _sets(signed), strict=True)
        with self._reached(), self._lsh.insertion_session() as session:
            for row_id, signature, shingles in rows:
                # The set goes first: whoever finds the row in a bucket can confirm it.
                if self._redis.set(self._set_key(row_id), shingles.astype("<u4").tobytes(), nx=True):
                    session.insert(row_id.encode(), self._minhash(signature), check_duplication=False)

    def claim(self, ids: list[str], signed: pa.Table) -> list[str | None]:
        """Add rows and return which repeat an earlier one; those are taken out again.

        So what the index holds is what all machines together keep, first come, first kept. The answer for a row
        whose id is in the index already is that of the first time.

        Args:
            ids: the rows' ids, unique over all machines.
            signed: their signatures, as `minhash.signatures` gives them; no two near-duplicates of each other.

        Returns:
            For each row the id of the most similar earlier one, or None where there is none.
        """
        self.add(ids, signed)
        with self._reached():
            turns = [self._turn(row_id) for row_id in ids]
        near = self.near(ids, signed)
        with self._reached():
            earlier = [self._earlier(turn, others) for turn, others in zip(turns, near, strict=True)]
            for row_id, original in zip(ids, earlier, strict=True):
                if original is not None:
                    self._remove(row_id)
        return earlier

    def _earlier(self, turn: int, near: list[tuple[str, float]]) -> str | None:
        """Return the most similar row that had its turn before."""
        known = self._redis.hmget(self._prefix + b"turns", [other for other, _ in near]) if near else []
        found = (other for (other, _), at in zip(near, known, strict=True) if at is not None and int(at) < turn)
        return next(found, None)

    def _turn(self, row_id: str) -> int:
        return int(self._turns(keys=[self._prefix + b"turns", self._prefix + b"turn"], args=[row_id.encode()]))

    def _remove(self, row_id: str) -> None:
        """Take a row out; its turn is forgotten, so that it never comes before a row that is kept."""
        self._lsh.remove(row_id.encode())
        self._redis.hdel(self._prefix + b"turns", row_id.encode())
        self._redis.delete(self._set_key(row_id))

    def near(self, ids: list[str], signed: pa.Table) -> list[list[tuple[str, float]]]:
        """Return for each row the other rows of the index that are near-duplicates of it.

        Returns:
            (id, Jaccard similarity) of each, most similar first, then by id.
        """
        rows = zip(ids, self._matrix(signed), _sets(signed), strict=True)
        with self._reached():
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

        return LeanMinHash(scheme="affine32", seed=SEED, hashvalues=signature)

    def _matrix(self, signed: pa.Table) -> U32:
        raw = b"".join(signed.column("signature").to_pylist())
        return np.frombuffer(raw, "<u4").reshape(-1, self._options.permutations)

    def _claim_options(self) -> None:
        """Record the first user's options, or compare ours with them."""
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
    """Return connection arguments, the same for datasketch's connections and ours."""
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

    bands, width = PairRule(options.threshold_across, None).bands(options.permutations)
    if bands < 2:  # datasketch wants two bands at least
        bands, width = 2, options.permutations // 2
    storage = {"type": "redis", "basename": prefix + b"lsh", "redis": server}
    return MinHashLSH(num_perm=options.permutations, params=(bands, width), storage_config=storage, prepickle=False)
