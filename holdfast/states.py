"""States: a base model with the deltas of its lineage applied in order.

A delta file holds, for each variant, only what one step changed. Keys are `{variant}/{module path}.{part}`, or
`{variant}/@{step}/{module path}.{part}` where a tune step kept snapshots; a module path starts with the component of
the pipeline (`unet.mid_block...to_k`). The parts of one module and what they add to its weight W:

    u, v        low-rank edit: `u @ v`; a v that all modules share is stored once, under `{variant}/shared.v`
    down, up    LoRA (Hu et al. 2021, eq. 3): `alpha / rank * up @ down`, alpha from the header's hyperparameters
"""

import importlib.metadata
from pathlib import Path

from holdfast import artifacts, families, hub
from holdfast.errors import ArtifactError, HoldfastError

# The one variant of a delta that was made on the base and not for any edit.
BASE = "base"

_LIBRARIES = ("torch", "diffusers", "transformers", "peft", "safetensors")


def load(model_dir, delta_files, variant=None, kind="sd", tuning_step=None, device="cpu"):
    """A pipeline in the state that a lineage of deltas leads to; see `State`."""
    return State(model_dir, kind=kind, device=device).apply(delta_files, variant, tuning_step)


class State:
    """One loaded base model that is put into one state after another; for jobs that walk a shard.

    Attributes:
        pipe: the pipeline, always the same object, in the state of the last `apply`.
    """

    def __init__(self, model_dir, kind="sd", device="cpu", dtype=None):
        self.model_dir = Path(model_dir)
        self.pipe = families.load(model_dir, kind=kind, device=device, dtype=dtype)
        self._originals = {}
        self._files = {}

    def apply(self, delta_files, variant=None, tuning_step=None):
        """Put the pipeline into the state base + deltas, whatever state it was in.

        Args:
            delta_files: paths of the delta files, in the order of the lineage; none leaves the base.
            variant: which of the files' variants. Files that were made on the base for no edit have the single
                variant `base`, which goes with any. None takes the only variant there is.
            tuning_step: which snapshot of a tune step that ends the lineage; None or 0 takes the last one.
                Steps made on top of a tune step were made on its last snapshot.

        Returns:
            The pipeline.

        Raises:
            ArtifactError: a file is damaged, stale or foreign (see `check_parents`).
            HoldfastError: no such variant, snapshot or module.
        """
        import torch

        files = [str(path) for path in delta_files]
        for path in [path for path in self._files if path not in files]:
            del self._files[path]
        for path in files:
            if path not in self._files:
                self._files[path] = artifacts.load(path, kind="delta")
        check_parents(self.model_dir, [(path, self._files[path][1]) for path in files])
        chosen = [
            _select(path, *self._files[path], variant, tuning_step if path == files[-1] else None) for path in files
        ]
        if tuning_step and not (files and self._files[files[-1]][1]["snapshots"]):
            raise HoldfastError(
                f"Tuning step {tuning_step} was asked for, but the lineage does not end in a tune step; leave it out."
            )
        self.reset()
        try:
            with torch.no_grad():
                for path, modules in zip(files, chosen, strict=True):
                    alpha = self._files[path][1]["hyperparameters"].get("alpha")
                    for module_path, parts in modules.items():
                        self._add(path, module_path, parts, alpha)
        except BaseException:
            self.reset()
            raise
        return self.pipe

    def reset(self):
        """Return the pipeline to the base, bit for bit."""
        import torch

        with torch.no_grad():
            for module_path, original in self._originals.items():
                module_of(self.pipe, module_path).weight.copy_(original)
        return self.pipe

    def _add(self, path, module_path, parts, alpha):
        """Add one module's delta to its weight, after a copy of the base's was kept."""
        try:
            weight = module_of(self.pipe, module_path).weight
        except AttributeError as error:
            raise ArtifactError(
                f"{path} changes {module_path}, which this model does not have; it was made for another architecture."
            ) from error
        change = _change(path, module_path, parts, alpha).to(weight.device)
        if change.shape != weight.shape:
            raise ArtifactError(
                f"{path} changes {module_path} by a matrix of {tuple(change.shape)}, its weight has "
                f"{tuple(weight.shape)}; it was made for another architecture."
            )
        if module_path not in self._originals:
            self._originals[module_path] = weight.detach().clone()
        weight.add_(change)


def module_of(pipe, module_path):
    """The module at `{component}.{path}` of a pipeline; AttributeError where there is none."""
    component, _, path = module_path.partition(".")
    return getattr(pipe, component).get_submodule(path)


def save(
    path,
    variants,
    *,
    step,
    method,
    model_dir,
    parents=(),
    method_version=None,
    hyperparameters=None,
    family=None,
    lineage=None,
    seed=None,
    device="cpu",
):
    """Write what one step changed as a delta file.

    Args:
        variants: variant -> {key: Tensor} as an editor returns it, or variant -> {step: {key: Tensor}} for a tuner's
            snapshots. Keys are `{module path}.{part}`.
        step: `edit` or `tune`.
        method, method_version, hyperparameters: what made it; alpha of LoRA is read from the hyperparameters.
        model_dir: the base, with its manifest.json.
        parents: delta files of the lineage before this step, in order.
        family, lineage: where it belongs in a study; by default the name of the model's folder, and the parents'
            lineage followed by the method.
        seed, device: of the method, and where it ran.
    """
    tensors, snapshots = {}, set()
    for variant, delta in variants.items():
        for key, value in delta.items():
            if isinstance(key, int):
                snapshots.add(key)
                tensors.update({f"{variant}/@{key}/{name}": tensor for name, tensor in value.items()})
            else:
                tensors[f"{variant}/{key}"] = value
    if lineage is None:
        above = [artifacts.read_header(path)["lineage"] for path in list(parents)[-1:]]
        lineage = "/".join([*above, method])
    header = {
        "kind": "delta",
        "step": step,
        "method": method,
        "method_version": method_version,
        "hyperparameters": hyperparameters or {},
        "family": family or Path(model_dir).name,
        "lineage": lineage,
        "base": base_identity(model_dir),
        "parents": parents_of(model_dir, parents),
        "variants": list(variants),
        "snapshots": sorted(snapshots),
        "seed": seed,
        "versions": versions(),
        "device": str(device),
        "dtype": "float32",
    }
    artifacts.save(path, tensors, header)


def base_identity(model_dir):
    """Hash of a base model's manifest, by which deltas know their base."""
    return hub.manifest_hash(model_dir)


def parents_of(model_dir, delta_files):
    """What a file made on a state records as `parents`: `base`, its manifest's hash, and `state`, the last delta's."""
    parents = {"base": base_identity(model_dir)}
    if delta_files:
        parents["state"] = artifacts.identity(list(delta_files)[-1])
    return parents


def check_parents(model_dir, deltas):
    """Check that every delta of a lineage was made on this base and on the delta before it.

    Args:
        deltas: (path, header) in the order of the lineage.

    Raises:
        ArtifactError: naming the file that is foreign (other base, other place in a lineage) or stale (the delta
            below it was made again since).
    """
    if not deltas:
        return
    base = base_identity(model_dir)
    below = None
    for path, header in deltas:
        recorded = header["parents"]
        if recorded.get("base") != base:
            raise ArtifactError(
                f"{path} is foreign: it was made on another base model than {model_dir}; "
                "give the model that it was made on, or delete it and run the workflow again."
            )
        if below is None and "state" in recorded:
            raise ArtifactError(
                f"{path} is foreign: it was made on an edited or tuned state ({header['lineage']}), not on the base; "
                "give the deltas below it as well."
            )
        if below is not None and recorded.get("state") != artifacts.identity_of(below[1]):
            fault = (
                "foreign: it was made on the base" if "state" not in recorded else "stale: it was made on other data"
            )
            raise ArtifactError(
                f"{path} is {fault} and not on {below[0]} as it is now; delete it and run the workflow again."
            )
        below = path, header


def versions():
    """Versions of the libraries that decide values, for headers."""
    return {name: importlib.metadata.version(name) for name in _LIBRARIES}


def _select(path, tensors, header, variant, tuning_step):
    """The parts of one variant at one snapshot: module path -> {part: Tensor}."""
    known = header["variants"]
    if known == [BASE] or (variant is None and len(known) == 1):
        variant = known[0]
    if variant not in known:
        asked = "several variants and none was asked for" if variant is None else f"no variant {variant!r}"
        raise HoldfastError(f"{path} has {asked}; choose one of {', '.join(known)}.")
    prefix = f"{variant}/"
    if snapshots := header["snapshots"]:
        tuning_step = tuning_step or snapshots[-1]
        if tuning_step not in snapshots:
            listed = ", ".join(map(str, snapshots))
            raise HoldfastError(f"{path} has no snapshot at tuning step {tuning_step}; choose one of {listed}.")
        prefix += f"@{tuning_step}/"
    modules = {}
    for key, tensor in tensors.items():
        if key.startswith(prefix):
            module_path, _, part = key.removeprefix(prefix).rpartition(".")
            modules.setdefault(module_path, {})[part] = tensor
    shared = modules.pop("shared", {})
    return {module_path: {**shared, **parts} for module_path, parts in modules.items()}


def _change(path, module_path, parts, alpha):
    """What a module's parts add to its weight."""
    match sorted(parts):
        case ["u", "v"]:
            return parts["u"] @ parts["v"]
        case ["down", "up"]:
            if alpha is None:
                raise ArtifactError(f"{path} holds LoRA factors but no alpha in its hyperparameters; make it again.")
            return alpha / parts["down"].shape[0] * (parts["up"] @ parts["down"])
    raise ArtifactError(
        f"{path} holds the parts {', '.join(sorted(parts))} for {module_path}, which make no delta known to this "
        "version of Holdfast; use the version that wrote it."
    )
