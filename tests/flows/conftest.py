"""What the tests of crashes share; test modules can't import one another by name."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def crash() -> Any:
    """The module that starts runs, kills them, and compares what they leave."""
    spec = importlib.util.spec_from_file_location("crash", Path(__file__).with_name("crash.py"))
    if spec is None or spec.loader is None:
        raise ImportError("crash.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
