"""Timing of rivals that take turns, and what a process needs at its peak."""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch


def take_turns(rivals: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, list[float]]:
    """Return the CPU time of every call in ms; each rival runs once beforehand.

    Turns spread what else the machine does over all rivals, and CPU time leaves most of it out.
    """
    for rival in rivals.values():
        rival()
    times: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(repetitions):
        for name, rival in rivals.items():
            start = time.process_time()
            rival()
            times[name].append(1e3 * (time.process_time() - start))
    return times


def summary(times: Mapping[str, list[float]], against: str = "plain") -> dict[str, dict[str, float]]:
    """Return median and minimum in ms, and how many times faster than `against` the median is."""
    reference = statistics.median(times[against])
    return {
        name: {
            "median_ms": statistics.median(x),
            "min_ms": min(x),
            "speedup": reference / statistics.median(x),
        }
        for name, x in times.items()
    }


def growth_at_peak(work: Callable[[], object]) -> float:
    """Return by how many MiB the resident memory of this process peaks over where it stood (Linux)."""
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    work()
    return (_status("VmHWM") - before) / 1024


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def profile_of(work: Callable[[], object]) -> dict[str, float]:
    """Return the share of CPU time of the ten most expensive operations."""
    with torch.profiler.profile() as found:
        work()
    shares: Counter[str] = Counter()
    for row in found.key_averages():
        shares["compiled kernels" if "CompiledFxGraph" in row.key else row.key] += row.self_cpu_time_total
    total = shares.total()
    return {name: round(time / total, 3) for name, time in shares.most_common(10)}


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    models = {
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    }
    return {
        "cpu": ", ".join(sorted(models)),
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def report(result: Mapping[str, Any], out: Path | None) -> None:
    """Print the rivals as a table, write everything as JSON."""
    print("| | median ms | min ms | times as fast |\n|---|---|---|---|")
    for name, x in result["rivals"].items():
        print(f"| {name} | {x['median_ms']:.0f} | {x['min_ms']:.0f} | {x['speedup']:.2f} |")
    print(json.dumps({k: x for k, x in result.items() if k != "rivals"}, indent=1))
    if out:
        out.write_text(json.dumps(result, indent=1) + "\n")
