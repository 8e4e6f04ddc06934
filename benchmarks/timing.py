"""Interleaved timing, so that a machine's moods meet every contestant alike, and the words for the machine."""

import os
import platform
import statistics
import time
from pathlib import Path


def interleave(contestants, repeats):
    """Call every contestant `repeats` times in turn, after one unmeasured round.

    Args:
        contestants: name -> function without arguments.

    Returns:
        (name -> list of wall seconds, name -> what its last call returned)
    """
    results = {name: contestant() for name, contestant in contestants.items()}
    seconds = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, contestant in contestants.items():
            start = time.perf_counter()
            results[name] = contestant()
            seconds[name].append(time.perf_counter() - start)
    return seconds, results


def median_and_range(values, digits=3):
    """`median (least-most)` with that many significant digits."""
    middle, least, most = statistics.median(values), min(values), max(values)
    return f"{middle:.{digits}g} ({least:.{digits}g}-{most:.{digits}g})"


def machine(threads):
    """One line on what the numbers were measured on."""
    import diffusers
    import torch

    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = [line for line in cpuinfo.read_text(encoding="utf-8").splitlines() if line.startswith("model name")]
        name = lines[0].partition(":")[2].strip() if lines else name
    return (
        f"{name}, {os.cpu_count()} cores, {threads} used; {platform.system()}, Python {platform.python_version()}, "
        f"torch {torch.__version__}, diffusers {diffusers.__version__}; float32 on the CPU"
    )
