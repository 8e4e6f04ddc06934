"""Which device a job computes on, and that no other job of this machine computes there at the same time.

The one module that looks at the environment: what it reads and sets is the machine's affair and no result's.
"""

import contextlib
import functools
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from holdfast.compat import fast_imports
from holdfast.errors import HoldfastError

_LOGGER = logging.getLogger(__name__)

# The lock of this process's device: it must live as long as the process.
_HELD = []


@functools.cache
def listed():
    """Ids of this machine's CUDA devices by NVIDIA's own tool, without importing torch: ("GPU-5c3e...", ...)."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"], capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(line.strip() for line in done.stdout.splitlines() if line.strip()) if done.returncode == 0 else ()


def count():
    """Number of CUDA devices that this process may use: the machine's, or those that CUDA_VISIBLE_DEVICES leaves."""
    return len(_visible())


def prepare(threads):
    """Choose and set up the device of this process. Call it first, before anything imports torch.

    With CUDA devices, one is taken through a lock file that is held until the process ends, so that jobs which run side
    by side on a workstation sit on different devices; while all are taken it waits. The one device that SLURM gave to
    a job of its own is that job's without a lock; several are shared out as on a workstation (Snakemake inside one
    allocation). Without devices it is the CPU. A second call changes nothing.

    torch is set to `threads` CPU threads and to deterministic algorithms.

    Args:
        threads: number of CPU threads.

    Returns:
        torch.device: `cuda` (the only one this process sees) or `cpu`.
    """
    if "torch" not in sys.modules:
        # OpenMP reads these when it is loaded. Idle threads that spin take a core from the job beside this one.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
        # cuBLAS is only deterministic with a workspace of fixed size; read at its first use.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    visible = _visible()
    assigned = "SLURM_JOB_ID" in os.environ and len(visible) == 1
    if visible and not assigned and not _HELD:
        device, lock = claim(visible, Path(tempfile.gettempdir()) / f"holdfast-{os.getuid()}")
        _HELD.append(lock)
        os.environ["CUDA_VISIBLE_DEVICES"] = device

    with fast_imports():
        import torch

    torch.set_num_threads(threads)
    # A warning where an operation has no deterministic form: better a run with a note than none.
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Its other half fills fresh memory with NaN to unmask reads of it: a debugging aid that costs time.
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = False
    if not visible:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise HoldfastError(
            f"This machine shows {len(visible)} CUDA device(s), but torch {torch.__version__} can't use them; "
            "install a CUDA build of torch, or set CUDA_VISIBLE_DEVICES to nothing to compute on the CPU."
        )
    return torch.device("cuda")


def claim(candidates, folder, patience=None):
    """Lock one of several devices for this process, waiting while all are taken.

    Args:
        candidates: device ids, tried in this order.
        folder: where the lock files lie, one per device; made where missing, readable by its owner only.
        patience: seconds to wait before giving up; None waits for as long as it takes.

    Returns:
        (id, lock): the device is free again once the lock is released or the process ends, however it ends.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise HoldfastError(f"The folder of device locks, {folder}, belongs to another user; have it removed.")
    start = time.monotonic()
    told = False
    while True:
        for device in candidates:
            lock = FileLock(folder / f"{device.replace('/', '-')}.lock", timeout=0)
            with contextlib.suppress(Timeout):
                lock.acquire()
                return device, lock
        if patience is not None and time.monotonic() - start >= patience:
            raise HoldfastError(
                f"All {len(candidates)} CUDA device(s) are taken by other jobs; wait for them, or give Snakemake "
                f"`--resources gpu={len(candidates)}` so that it starts no more jobs than there are devices."
            )
        if not told:
            _LOGGER.info("All %d CUDA device(s) are taken by other jobs; waiting for one.", len(candidates))
            told = True
        time.sleep(0.5)


def _visible():
    """Ids of the devices that this process may use; numbers in CUDA_VISIBLE_DEVICES count as nvidia-smi does."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None or not listed():
        return listed()
    ids = [item.strip() for item in given.split(",") if item.strip()]
    # CUDA itself ignores everything from the first -1 on.
    if "-1" in ids:
        ids = ids[: ids.index("-1")]
    # One device, one lock: a number and the id of the same device must meet at the same file.
    return tuple(listed()[int(item)] if item.isdigit() and int(item) < len(listed()) else item for item in ids)
