"""The training loop that all tuners share: AdamW with a constant rate, snapshots, and checkpoints that lose nothing.

As in diffusers' training scripts: gradients clipped to norm 1, AdamW with betas (.9, .999), eps 1e-8 and weight decay
1e-2. What differs is where randomness comes from: every step has its own generator on the CPU, seeded by (seed, step).
So nothing about random numbers has to be saved, and a run that was killed and resumed is equal to one that was not, bit
for bit, on the same machine.
"""

import hashlib
import json
import logging
import math
from pathlib import Path

from holdfast import artifacts
from holdfast.errors import ArtifactError, HoldfastError

_LOGGER = logging.getLogger(__name__)

MAX_GRAD_NORM = 1.0
CHECKPOINT = "checkpoint.safetensors"


def generator(seed, *purpose):
    """A CPU generator of its own for each purpose, e.g. `generator(seed, "step", 7)`."""
    import torch

    digest = hashlib.sha256(json.dumps([int(seed), *purpose]).encode()).digest()
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def batch_of(step, n, batch_size, seed, purpose="epoch"):
    """Which of n pictures step 1, 2, ... trains on: int64 [batch_size]; streams of different purposes differ.

    The pictures run by in one shuffled epoch after another, and batches are cut from this stream without regard to
    where an epoch ends: all batches are of one size and all pictures are seen equally often, also where batch_size
    does not divide n.
    """
    import torch

    start, rows = (step - 1) * batch_size, []
    while len(rows) < batch_size:
        epoch, offset = divmod(start + len(rows), n)
        order = torch.randperm(n, generator=generator(seed, purpose, epoch))
        rows += order[offset : offset + batch_size - len(rows)].tolist()
    return torch.tensor(rows)


def check_schedule(steps, snapshots):
    """The snapshots in ascending order; HoldfastError where they don't fit the number of steps."""
    snapshots = sorted(set(snapshots or (steps,)))
    if steps < 1 or snapshots[0] < 1 or snapshots[-1] > steps:
        raise HoldfastError(
            f"Snapshots at steps {', '.join(map(str, snapshots))} don't fit a training of {steps} steps; "
            "choose them between 1 and the number of steps."
        )
    return snapshots


def train(
    parameters,
    losses_of,
    *,
    steps,
    learning_rate,
    snapshots,
    device,
    dtype,
    identity,
    checkpoint_dir=None,
    checkpoint_every=100,
    progress=None,
):
    """Train parameters and return them as they were after the steps of `snapshots`.

    Args:
        parameters: name -> trainable float32 Parameter; changed in place.
        losses_of: step (1, 2, ...) -> scalar losses that sum to the step's, computed one after another so that only
            one graph is in memory; all their randomness must come from `generator(seed, ..., step)`.
        steps: optimiser steps.
        learning_rate: of AdamW, constant.
        snapshots: steps at which the parameters are kept.
        device, dtype: of the frozen model; bfloat16 trains under autocast.
        identity: string that tells this run from any other; a checkpoint of another run is not resumed.
        checkpoint_dir: folder of the checkpoint that is resumed if there is one; None keeps none. The caller removes
            the folder once the result is safe.
        checkpoint_every: steps between two checkpoints; it has no influence on the result.
        progress: called with the number of steps done since its last call.

    Returns:
        {step: {name: float32 CPU tensor}}

    Raises:
        HoldfastError: the loss became NaN or infinite, or the checkpoint can't be written.
    """
    import torch

    if dtype not in (torch.float32, torch.bfloat16):
        raise HoldfastError(f"Training in {dtype} loses small gradients; load the model in float32 or bfloat16.")
    trained = list(parameters.values())
    optimizer = torch.optim.AdamW(
        trained, lr=learning_rate, betas=(0.9, 0.999), weight_decay=1e-2, eps=1e-8, fused=True
    )
    path = Path(checkpoint_dir) / CHECKPOINT if checkpoint_dir else None
    done, kept = _resume(path, identity, parameters, optimizer) if path else (0, {})
    if progress and done:
        progress(done)
    for step in range(done + 1, steps + 1):
        losses = iter(losses_of(step))
        while True:
            with torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
                loss = next(losses, None)
            if loss is None:
                break
            if not math.isfinite(value := loss.item()):
                raise HoldfastError(
                    f"Training failed: the loss is {value} at step {step} of {steps}; "
                    f"lower the learning rate (it is {learning_rate:g}) or look at the corpus."
                )
            loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, MAX_GRAD_NORM)
        optimizer.step()
        optimizer.zero_grad()
        if step in snapshots:
            kept[step] = _copies(parameters)
        if path and (step % checkpoint_every == 0 or step == steps):
            _save(path, identity, step, parameters, optimizer, kept)
        if progress:
            progress(1)
    return kept


def _copies(parameters):
    return {name: parameter.detach().to("cpu", copy=True) for name, parameter in parameters.items()}


def _save(path, identity, step, parameters, optimizer, kept):
    """Write everything that the rest of the run depends on; the moments are AdamW's."""
    tensors = {}
    for name, parameter in parameters.items():
        tensors[f"parameter/{name}"] = parameter
        # A parameter that no loss reads has no moments.
        if state := optimizer.state.get(parameter):
            tensors[f"exp_avg/{name}"], tensors[f"exp_avg_sq/{name}"] = state["exp_avg"], state["exp_avg_sq"]
    for snapshot, copies in kept.items():
        tensors.update({f"@{snapshot}/{name}": tensor for name, tensor in copies.items()})
    artifacts.save(path, tensors, {"kind": "checkpoint", "identity": identity, "step": step, "snapshots": sorted(kept)})


def _resume(path, identity, parameters, optimizer):
    """Load a checkpoint of this very run; returns (steps done, snapshots kept), (0, {}) where there is none."""
    import torch

    if not path.exists():
        return 0, {}
    try:
        tensors, header = artifacts.load(path, kind="checkpoint")
    except ArtifactError as error:
        _LOGGER.warning("Training starts from the beginning: its checkpoint is of no use. %s", error)
        return 0, {}
    if header["identity"] != identity:
        _LOGGER.info("Training starts from the beginning: %s is of a run with other settings or data.", path)
        return 0, {}
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[f"parameter/{name}"])
            if f"exp_avg/{name}" not in tensors:
                continue
            moments = {part: tensors[f"{part}/{name}"].to(parameter.device) for part in ("exp_avg", "exp_avg_sq")}
            # A fused AdamW counts steps where the parameter lies.
            count = torch.tensor(float(header["step"]), device=parameter.device)
            optimizer.state[parameter] = {"step": count, **moments}
    kept = {snapshot: {name: tensors[f"@{snapshot}/{name}"] for name in parameters} for snapshot in header["snapshots"]}
    _LOGGER.info("Training goes on after step %d.", header["step"])
    return header["step"], kept
