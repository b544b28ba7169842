"""The benchmarks are scripts, not a package: their folders are put where they can be imported from."""

from __future__ import annotations

import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
sys.path.extend(str(folder) for folder in (BENCHMARKS, BENCHMARKS / "speed") if str(folder) not in sys.path)
