"""What the display says when a stage begins, and when training stops early."""

from __future__ import annotations

import pytest

from trimtab.cli.progress import Progress


def test_stages_and_early_stops_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress() as progress:
        progress({"type": "action", "step": 7, "action": "stage", "stage": 1, "name": "block 5", "groups": ["a", "b"]})
        progress({"type": "action", "step": 9, "action": "early_stop", "reason": "no better value", "best_step": 4})
    told = capsys.readouterr().err
    assert "Stage 2 begins: block 5 unfrozen, 2 groups train" in told
    assert "Stopped early: no better value; the best was step 4" in told
