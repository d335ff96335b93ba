"""From a sampler of the recipe to its model and its engine, whichever kind that is."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from proofmill.data.errors import EngineError
from proofmill.data.files import digest
from proofmill.flows.recipe.engines import OpenAIEngine
from proofmill.flows.recipe.schema import Sampler
from proofmill.generators import models
from proofmill.generators.engines.base import Engine, Request, Watcher
from proofmill.generators.engines.openai import OpenAIEngine as Servers
from proofmill.generators.engines.openai_client import ServerOptions
from proofmill.generators.engines.restarting import RestartingEngine
from proofmill.generators.engines.vllm import VllmEngine as VllmProcess
from proofmill.generators.models import Model, Notice
from proofmill.generators.sample_plan import SamplePlan


def model_of(sampler: Sampler, notice: Notice) -> Model:
    """The model of a sampler. Of one that others serve, the tokenizer is here and the weights are what is stated.

    Raises:
        InputError, EngineError: it can't be found or fetched.
    """
    engine = sampler.engine
    if not isinstance(engine, OpenAIEngine):
        return models.resolve(sampler.model, notice=notice)
    model = models.resolve(sampler.model, notice=notice, weights=False)
    name = engine.served.rstrip("/").rpartition("/")[2] if engine.served and engine.served[0] == "/" else engine.served
    name = name or model.name
    stated = digest("served", name, engine.revision, model.digest)
    return replace(model, name=name, revision=engine.revision or "as served", digest=stated)


def engine_of(plan: SamplePlan, home: Path, log_file: Path, watcher: Watcher, trials: Sequence[Request] = ()) -> Engine:
    """The engine of a plan, not started.

    Args:
        plan: the sampler.
        home: HOME; prompts in quarantine are kept beside the plan's samples.
        log_file: receives what an engine on this machine prints.
        watcher: told of deaths and retries.
        trials: requests like those that will come besides samples; servers that can't do them are refused at once.

    Raises:
        EngineError: the environment variable with the API key is not set.
    """
    options = dict(plan.engine)
    make: Callable[[], Engine] = lambda: VllmProcess(plan.model.path, options, log_file)  # noqa: E731
    if options["kind"] == "openai":
        servers = replace(servers_of(plan.name, options, plan.style.chat_template_args), trials=tuple(trials))
        make = lambda: Servers(servers, plan.sampling, watcher)  # noqa: E731
    quarantine = plan.quarantine(home)
    return RestartingEngine(make, watcher, restarts=options.get("restarts", 0), quarantine=quarantine)


def servers_of(name: str, options: Mapping[str, Any], chat_template_args: Mapping[str, Any]) -> ServerOptions:
    """How to reach the servers of an engine `openai`.

    Raises:
        EngineError: the environment variable with the API key is not set.
    """
    variable = options["api_key_env"]
    key = os.environ.get(variable) if variable else None
    if variable and not key:
        raise EngineError(
            f"The environment variable {variable} is not set.",
            where=f"recipe key engine.api_key_env of {name}",
            remedy=f"export {variable}=... where proofmill runs, or leave api_key_env out",
        )
    return ServerOptions(
        endpoints=tuple(options["endpoints"]),
        served=options["served"],
        api=options["api"],
        key=key,
        window=options["window"],
        timeout_s=options["timeout_s"],
        retries=options["retries"],
        wait_s=options["wait_s"],
        max_model_len=options["max_model_len"],
        chat_template_args=chat_template_args,
    )
