"""What one pretraining job does: take a device and its threads, then run one stage in results/pretrain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

FOLDER = Path("results/pretrain")


def run(stage: str, settings: dict[str, Any], *, log: str, threads: int) -> None:
    """Calls ``stages.<stage>(FOLDER, **settings)``, or flux_stages' function of that name, with logging set up."""
    from .. import devices
    from .. import log as logs

    logs.job(log)
    devices.prepare(threads)

    from . import flux_stages, stages

    work = getattr(stages, stage, None) or getattr(flux_stages, stage)
    work(FOLDER, **{k: Path(x) if k == "out" else x for k, x in settings.items()})
