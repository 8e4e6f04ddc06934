"""Mends for libraries that do not import beside each other, or import slowly."""

import contextlib
import gc
import importlib.machinery
import importlib.util
import sys
from pathlib import Path

# A torch.library.Library takes its definitions with it when it is collected, so the process keeps it.
_KEPT = []

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def ensure_torchvision():
    """Make `import torchvision` work beside a torch for which its compiled operators were not built.

    The index serves torchvision with CUDA operators only; beside a CPU torch they can't load, and torchvision then
    dies on registering a fake kernel for an operator that was never defined. Declaring the two schemas is enough:
    Holdfast, transformers and open_clip use torchvision's transforms, which are plain Python. Where the operators
    load, nothing is touched. Call it before importing diffusers, transformers, peft or open_clip; it costs
    milliseconds after torch itself, and a second call does nothing.
    """
    if _KEPT:
        return
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return

    import torch

    if hasattr(torch.ops.torchvision, "nms") or _operators_load(Path(spec.origin).parent):
        return
    library = torch.library.Library("torchvision", "DEF")
    for schema in _SCHEMAS:
        library.define(schema)
    _KEPT.append(library)


@contextlib.contextmanager
def fast_imports():
    """Import torch, diffusers and their like without Python's cyclic garbage collector searching what they allocate.

    Hundreds of thousands of objects that stay for good are searched again and again while they come to be, and once
    more with every full collection afterwards: about 2 of the 6.5 seconds that a core needs to import diffusers and
    load a small pipeline. The collector rests during the block and never looks at what was there at its end; what
    comes later is collected as ever. (Importing single classes from their own modules saves nothing: they import the
    rest.)
    """
    enabled, modules = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > modules:
            gc.freeze()
        if enabled:
            gc.enable()


@contextlib.contextmanager
def quiet_loading():
    """No bars of diffusers and transformers while a model loads: a job's log has its own progress."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    shown = [library for library in (diffusers_logging, transformers_logging) if library.is_progress_bar_enabled()]
    for library in shown:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library in shown:
            library.enable_progress_bar()


def _operators_load(package):
    """Whether torchvision's compiled operators can be loaded into this torch."""
    import torch

    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        path = package / f"_C{suffix}"
        if path.exists():
            try:
                torch.ops.load_library(path)
            except OSError:
                return False
            return True
    return False
