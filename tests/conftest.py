"""Fixtures for every test: offline, deterministic, and the optional folder of real data."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

# Two workers share two cores: one thread each, or they wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# No test reads or fills the user's own cache.
os.environ["TRIMTAB_CACHE"] = tempfile.mkdtemp(prefix="trimtab-tests-cache-")

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
atexit.register(shutil.rmtree, os.environ["TRIMTAB_CACHE"], ignore_errors=True)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets, or a skip: it lies beside the checkout and is not part of the repository."""
    folder = Path(os.environ.get("TRIMTAB_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no folder of real data at {folder} (set TRIMTAB_SHARED_DATA)")
    return folder


@pytest.fixture(scope="session")
def tickets() -> Path:
    """The English support tickets that ship with the repository."""
    return REPOSITORY / "examples" / "tickets" / "tickets_en.csv"
