"""datatrove's MinHash pipeline over one JSONL file, in the four steps of its own example.

    PEER_PYTHON datatrove_minhash.py IN OUT BANDS WIDTH SHINGLE

Runs under the interpreter of an environment that has datatrove, and imports nothing of ours. The file is cut into a
part a processor first, since datatrove signs whole files side by side. Words are what white space parts, in small
letters: what we and the other sides compare, and cheaper than datatrove's own tokenizers. Kept rows are in OUT/kept.
"""

import os
import sys
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupBuckets
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers.jsonl import JsonlWriter
from datatrove.utils.text import TextNormConfig
from datatrove.utils.word_tokenizers import WordTokenizer


class Words(WordTokenizer):
    """What white space parts."""

    def word_tokenize(self, text: str) -> list[str]:
        return text.split()

    def sent_tokenize(self, text: str) -> list[str]:
        return [text]

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        return [(0, len(text))]


def main(source: Path, out: Path, bands: int, width: int, shingle: int) -> None:
    """Signs, joins the buckets, clusters, writes."""
    parts, workers = out / "parts", os.cpu_count() or 1
    parts.mkdir(parents=True)
    lines = source.read_bytes().splitlines(keepends=True)
    size = -(-len(lines) // workers)
    for number in range(workers):
        (parts / f"{number}.jsonl").write_bytes(b"".join(lines[number * size : (number + 1) * size]))
    plain = TextNormConfig(remove_punctuation=False, norm_unicode_diacritics=False, norm_numbers=False)
    config = MinhashConfig(n_grams=shingle, num_buckets=bands, hashes_per_bucket=width, norm_config=plain)
    signed, joined, removed = (str(out / name) for name in ("signed", "joined", "removed"))
    steps = [
        ([JsonlReader(str(parts)), MinhashDedupSignature(signed, config=config, language=Words())], workers),
        ([MinhashDedupBuckets(signed, joined, config=config)], bands),
        ([MinhashDedupCluster(joined, removed, config=config)], 1),
        (
            [
                JsonlReader(str(parts)),
                MinhashDedupFilter(removed),
                JsonlWriter(str(out / "kept"), "${rank}.jsonl", compression=None),
            ],
            workers,
        ),
    ]
    for number, (pipeline, tasks) in enumerate(steps):
        logs = str(out / f"logs-{number}")  # a folder a step: marks of completion lie there
        LocalPipelineExecutor(
            pipeline, tasks=tasks, workers=min(workers, tasks), logging_dir=logs, start_method="fork"
        ).run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
