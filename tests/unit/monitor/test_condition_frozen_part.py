"""Parts that should train and do not."""

from __future__ import annotations

from monitor_traces import make_facts, make_trace

from trimtab.core.said import Said
from trimtab.monitor.conditions.frozen_part import FrozenPart
from trimtab.monitor.findings import Finding
from trimtab.monitor.trace import Trace


def found(trace: Trace) -> Finding | None:
    findings = list(FrozenPart().examine(trace))
    assert all(isinstance(told, Said) for one in findings for told in (one.message, one.remedy))
    return findings[0] if findings else None


def signalled(blocks: dict[str, tuple[float | None, float | None]], count: int = 6) -> Trace:
    trace = make_trace([0.6] * count, [])
    for step in range(1, count + 1):
        fields = {name: {"update_ratio": update, "grad_norm": norm} for name, (update, norm) in blocks.items()}
        trace.add({"type": "signals", "step": step, "blocks": fields})
    return trace


def test_a_frozen_head_needs_action_before_the_first_step() -> None:
    trace = Trace(make_facts(untrained=("head",), strategy="partial", recipe={"strategy.train_head": False}))
    finding = found(trace)
    assert finding is not None
    assert (finding.severity, finding.since) == ("act", 0)
    assert finding.change == {"strategy.train_head": True}


def test_otherwise_the_whole_model_trains() -> None:
    finding = found(Trace(make_facts(untrained=("head",), strategy="own")))
    assert finding is not None
    assert finding.change == {"strategy": "full", "optimizer.learning_rate": "auto"}


def test_a_head_without_gradient_needs_action() -> None:
    finding = found(signalled({"block 0": (1e-3, 0.5), "head": (1e-6, 0.0)}))
    assert finding is not None
    assert finding.severity == "act"
    assert finding.evidence["blocks"] == finding.evidence["without_gradient"] == ["head"]
    assert finding.since == 1


def test_a_block_that_never_moves_is_a_warning() -> None:
    finding = found(signalled({"block 0": (0.0, 0.5), "head": (1e-3, 0.5)}))
    assert finding is not None
    assert finding.severity == "warning"
    assert finding.evidence["blocks"] == ["block 0"]
    assert finding.evidence["without_gradient"] == []


def test_nothing_that_moves_needs_action() -> None:
    finding = found(signalled({"block 0": (0.0, 0.5), "head": (0.0, 0.5)}))
    assert finding is not None
    assert finding.severity == "act"


def test_silent_on_healthy_few_or_unknown_signals() -> None:
    assert found(signalled({"block 0": (1e-3, 0.5), "head": (1e-3, 0.5)})) is None
    assert found(signalled({"block 0": (0.0, 0.0)}, count=4)) is None
    assert found(signalled({"block 0": (None, None), "head": (None, None)})) is None


def test_steps_without_a_rate_do_not_count() -> None:
    trace = make_trace([0.6] * 6, [], rate=[0.0] * 6)
    for step in range(1, 7):
        trace.add({"type": "signals", "step": step, "blocks": {"head": {"update_ratio": 0.0, "grad_norm": 0.5}}})
    assert found(trace) is None
