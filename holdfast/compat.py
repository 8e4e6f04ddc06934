"""Mends for library combinations that pip installs but that do not import."""

import importlib.machinery
import importlib.util
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
