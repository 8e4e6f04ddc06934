"""One training loop for all stages: AdamW, warm-up and cosine, moving average, log, resumable checkpoints."""

from __future__ import annotations

import csv
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from .. import devices
from ..errors import HoldfastError

logger = logging.getLogger(__name__)


def train(
    model: torch.nn.Module,
    loss_of: Callable[[int, torch.Generator], dict[str, torch.Tensor]],
    folder: Path,
    *,
    steps: int,
    learning_rate: float,
    seed: int,
    weight_decay: float = 0.01,
    warmup: int = 100,
    ema: float = 0.995,
    save_every: int = 250,
    log_every: int = 25,
) -> None:
    """Minimises ``loss_of(step, generator)["loss"]`` and leaves the averaged weights in ``model``.

    ``folder/checkpoint.safetensors`` holds weights, average and optimiser moments; a second call goes on from it if it
    is the same training: the same settings and, to the last digit, the same losses of the untrained model at step 0,
    which weights, data and code all decide. Otherwise it starts anew.
    The generator of a step depends on (seed, step) alone, so a resumed run sees the same batches.
    ``folder/training.csv`` gets one row per ``log_every`` steps with every entry of the returned dictionary.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Random weights and batches come from CPU generators, whatever the device.
    model.to("cuda" if devices.count() else "cpu")
    parameters = dict(model.named_parameters())
    average = {name: p.detach().clone() for name, p in parameters.items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=weight_decay, betas=(0.9, 0.98))
    checkpoint, first = folder / "checkpoint.safetensors", 0
    settings = [steps, learning_rate, seed, weight_decay, warmup, ema]
    with torch.no_grad():
        begin = {name: float(value) for name, value in loss_of(0, _generator(seed, 0)).items()}
    identity = repr((settings, begin))
    if checkpoint.exists() and _identity(checkpoint) == identity:
        first = _restore(checkpoint, parameters, average, optimizer)
        _forget(folder / "training.csv", first)
        logger.info("going on at step %d of %d", first, steps)
    else:
        (folder / "training.csv").unlink(missing_ok=True)
    model.train()
    seen, started = [], time.monotonic()
    for step in range(first, steps):
        losses = loss_of(step, _generator(seed, step))
        if not torch.isfinite(losses["loss"]):
            raise HoldfastError(
                f"The loss became {losses['loss'].item()} at step {step}: lower the learning rate and start anew."
            )
        optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * _rate(step, steps, warmup)
        optimizer.step()
        # A short memory at first, so that the average does not drag the random start along.
        decay = min(ema, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(average.values()), [p.detach() for p in parameters.values()], 1 - decay)
        seen.append({name: float(value.detach()) for name, value in losses.items()})
        if (step + 1) % log_every == 0:
            means = {name: sum(row[name] for row in seen) / len(seen) for name in seen[0]}
            rate = (step + 1 - first) / (time.monotonic() - started)
            _append(folder / "training.csv", {"step": step + 1, "seconds": round((step + 1) / rate, 1), **means})
            logger.info(
                "step %d of %d, %.2f a second, %s", step + 1, steps, rate, {k: round(x, 4) for k, x in means.items()}
            )
            seen = []
        if (step + 1) % save_every == 0 or step + 1 == steps:
            _save(checkpoint, identity, step + 1, parameters, average, optimizer)
    with torch.no_grad():
        for name, p in parameters.items():
            p.copy_(average[name])
    model.cpu().eval()


def _generator(seed: int, step: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


def _identity(checkpoint: Path) -> str | None:
    with safe_open(checkpoint, "pt") as file:
        return (file.metadata() or {}).get("identity")


def _rate(step: int, steps: int, warmup: int) -> float:
    if step < warmup:
        return (step + 1) / warmup
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _append(path: Path, row: dict) -> None:
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)


def _forget(path: Path, step: int) -> None:
    """Drops what the log says of steps after the checkpoint: they are about to be made again."""
    if path.exists():
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(lines[:1] + [line for line in lines[1:] if int(line.split(",")[0]) <= step]))


def _save(
    path: Path, identity: str, step: int, parameters: dict, average: dict, optimizer: torch.optim.Optimizer
) -> None:
    tensors = {"step": torch.tensor(step)}
    for name, p in parameters.items():
        state = optimizer.state[p]
        tensors |= {f"weight/{name}": p.detach(), f"average/{name}": average[name]}
        tensors |= {
            f"first/{name}": state["exp_avg"],
            f"second/{name}": state["exp_avg_sq"],
            f"count/{name}": state["step"],
        }
    partial = path.with_suffix(".partial")
    save_file({name: t.contiguous().clone() for name, t in tensors.items()}, partial, {"identity": identity})
    partial.replace(path)


def _restore(path: Path, parameters: dict, average: dict, optimizer: torch.optim.Optimizer) -> int:
    tensors = load_file(path)
    with torch.no_grad():
        for name, p in parameters.items():
            p.copy_(tensors[f"weight/{name}"])
            average[name].copy_(tensors[f"average/{name}"])
            optimizer.state[p] = {
                "step": tensors[f"count/{name}"],
                "exp_avg": tensors[f"first/{name}"].to(p.device),
                "exp_avg_sq": tensors[f"second/{name}"].to(p.device),
            }
    return int(tensors["step"])
