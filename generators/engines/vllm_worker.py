"""The engine's own process: `python -m proofmill.generators.engines.vllm_worker FD`, started by `vllm`.

It takes requests at any time, steps vLLM's engine while any is unfinished, and sends completions as they come.
Importing this module is cheap; vLLM is imported once the parent has said which model to load.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import psutil

from proofmill.generators.engines.vllm import Channel, ChannelClosed

_PR_SET_PDEATHSIG = 1
_GIB = 1 << 30
_TOO_LONG = ("context length", "max_model_len", "too long", "longer than")


def main(descriptor: int) -> None:
    """Serve one parent until it closes the socket."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    channel = Channel(socket.socket(fileno=descriptor))
    try:
        _serve(channel)
    except ChannelClosed:
        pass
    except BaseException as error:
        channel.send({"op": "fatal", "message": f"{type(error).__name__}: {str(error)[:2000]}"})
        raise
    os._exit(0)  # vLLM's own exit hooks may hang on threads; the parent kills the group anyway


def _serve(channel: Channel) -> None:
    order = channel.receive()
    engine, facts = _load(order["model"], order["options"])
    channel.send({"op": "ready", "facts": facts})
    inbox: Queue[Any] = Queue()
    Thread(target=_read, args=(channel, inbox), daemon=True).start()
    scored: dict[str, int] = {}  # by request to score: the position where the scored text begins
    while True:
        for requests in _arrived(inbox, wait=not engine.has_unfinished_requests()):
            scored.update({name: start for name, *_, start in requests if start is not None})
            try:
                refused = _add(engine, requests)
            except _BadParametersError as error:
                channel.send({"op": "refused", "message": str(error)})
                continue
            if refused:
                channel.send({"op": "done", "completions": refused})
        done = [_completion(output, scored.pop(output.request_id, None)) for output in engine.step() if output.finished]
        if done:
            channel.send({"op": "done", "completions": done})


def _read(channel: Channel, inbox: Queue[Any]) -> None:
    """Read in a thread of its own, so that the parent never waits for a step to end before it can send."""
    try:
        while True:
            inbox.put(channel.receive()["requests"])
    except ChannelClosed:
        inbox.put(None)


def _arrived(inbox: Queue[Any], *, wait: bool) -> Iterator[Any]:
    while wait or not inbox.empty():
        if (requests := inbox.get()) is None:
            raise ChannelClosed
        yield requests
        wait = False


def _load(model: str, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    started = time.monotonic()
    arguments = _arguments(model, options)
    import vllm
    from vllm.config import StructuredOutputsConfig
    from vllm.engine.arg_utils import EngineArgs
    from vllm.v1.engine.llm_engine import LLMEngine

    structured = StructuredOutputsConfig(**arguments["structured_outputs_config"])
    engine = LLMEngine.from_engine_args(EngineArgs(**arguments | {"structured_outputs_config": structured}))
    config = engine.vllm_config
    return engine, {
        "name": "vllm",
        "version": vllm.__version__,
        "dtype": str(config.model_config.dtype).removeprefix("torch."),
        "max_model_len": config.model_config.max_model_len,
        "window": options.get("window") or 2 * config.scheduler_config.max_num_seqs,
        "load_seconds": time.monotonic() - started,
        "details": {key: value for key, value in arguments.items() if key != "model"},
    }


def _arguments(model: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return the EngineArgs for this machine; those that the recipe passes through win."""
    import torch

    gpu = torch.cuda.is_available()
    arguments: dict[str, Any] = {
        "model": model,
        "disable_log_stats": True,
        # Small models may write white space in JSON forever, if it is allowed. vLLM takes this option for the whole
        # engine only, not for one request.
        "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
    }
    if options.get("max_model_len"):
        arguments["max_model_len"] = options["max_model_len"]
    arguments |= {"dtype": options.get("dtype") or "auto"} if gpu else _cpu_arguments(model, options)
    return {**arguments, **options.get("args", {})}


def _cpu_arguments(model: str, options: dict[str, Any]) -> dict[str, Any]:
    import torch

    # One process and eager mode: compiling takes minutes and gains a few percent. The cache gets a quarter of the free
    # memory; vLLM's own default is nearly all of it.
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))
    spare = psutil.virtual_memory().available / _GIB
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", str(max(1, min(8, int(spare / 4)))))
    native = bool(torch.cpu._is_avx512_bf16_supported())  # the same check as vLLM's
    length = options.get("max_model_len") or min(4096, _context(model))
    return {
        "dtype": options.get("dtype") or ("bfloat16" if native else "float32"),
        "enforce_eager": True,
        "max_model_len": length,
        # A prompt prefilled in chunks rewinds its seeded generator, which torch can't do on a CPU.
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(8192, length),
        "max_num_seqs": 128,
    }


def _context(model: str) -> int:
    """Return the tokens that a model folder says its model can take; where it says nothing, no limit."""
    config = Path(model) / "config.json"
    said = json.loads(config.read_text(encoding="utf-8")) if config.exists() else {}
    return said.get("max_position_embeddings") or sys.maxsize


class _BadParametersError(Exception):
    """vLLM refuses the recipe's decoding parameters."""


def _add(engine: Any, requests: list[Any]) -> list[Any]:
    """Queue requests; return completions for those that the engine refuses."""
    from vllm.exceptions import VLLMClientError

    refused = []
    for name, tokens, seed, own, score_from in requests:
        try:
            params = _scoring_params() if score_from is not None else _sampling_params(own, seed)
        except (TypeError, ValueError, VLLMClientError) as error:
            raise _BadParametersError(f"{type(error).__name__}: {str(error)[:1000]}") from error
        try:
            engine.add_request(name, {"prompt_token_ids": tokens}, params)
        except (ValueError, VLLMClientError) as error:
            too_long = any(mark in str(error) for mark in _TOO_LONG)
            refused.append((name, "", "prompt_too_long" if too_long else "failed", 0, None))
    return refused


def _sampling_params(sampling: dict[str, Any], seed: int) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    if schema := sampling.pop("json_schema", None):
        sampling["structured_outputs"] = StructuredOutputsParams(json=schema)
    return SamplingParams(**sampling, seed=seed, output_kind=RequestOutputKind.FINAL_ONLY)


def _scoring_params() -> Any:
    """Return parameters for scoring: vLLM must draw at least one token, which is ignored."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        max_tokens=1, temperature=0.0, prompt_logprobs=0, detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY
    )


def _completion(output: Any, score_from: int | None) -> tuple[str, str, str, int, float | None]:
    if score_from is not None:
        return output.request_id, "", "stop", 0, _logprob(output, score_from)
    sample = output.outputs[0]
    return output.request_id, sample.text, sample.finish_reason or "stop", len(sample.token_ids), None


def _logprob(output: Any, start: int) -> float:
    """Return the sum of the prompt's log-probabilities from `start` on; the very first token has none."""
    pairs = zip(output.prompt_logprobs[max(start, 1) :], output.prompt_token_ids[max(start, 1) :], strict=True)
    return float(sum(known[token].logprob for known, token in pairs))


if __name__ == "__main__":
    main(int(sys.argv[1]))
