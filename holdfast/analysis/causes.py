"""Why an edit is lost: what the tuner's change of the weights, and of the edited prompts' path, has of the edit.

Weights are dictionaries of a state's changed parameters, name -> [out, ...]; a name that a state lacks is unchanged
there. Rows are (layer, measure, value), the empty layer being all of them together.
"""

import math
from collections.abc import Iterator, Mapping

import numpy as np

from holdfast.analysis import geometry


def of_weights(base, edited, tuned, edited_tuned) -> Iterator[tuple[str, str, float]]:
    """Measures of one tuning of one edited model, from its weights alone.

    `along`, `share`, `share_by_chance`, `beyond_chance`: of the tuner's change on the edited model, see
    `geometry.Overlap`; for every edited layer and for all. For all alone:
    `along_control`: `along` of the same tuning of the base, which knows no edit.
    `remaining`: `1 + along - along_control`, what the weights say that persistence is.
    `first_angle`: smallest principal angle in degrees between the edit's inputs and the tuner's leading ones.
    `touched`: share of the tuner's squared change that is in edited matrices.
    `norm`: Frobenius norm of the tuner's change. `dose`: relative to that of the base's weights that it changed.
    `magnitude`: share of the tuner's squared change that alters the lengths of rows; `along_magnitude` and
    `along_direction`: what the two parts of the change have of the edit, in sum `along`.

    Args:
        base: every parameter that any of the others changed, as it was.
        edited, tuned, edited_tuned: states of the same names.
    """
    change = {name: _matrix(weight) - _matrix(base[name]) for name, weight in edited.items()}
    change = {name: matrix for name, matrix in change.items() if matrix.shape[1] > 1 and matrix.any()}
    before = {name: _matrix(edited.get(name, base[name])) for name in edited_tuned}
    moved = {name: _matrix(weight) - before[name] for name, weight in edited_tuned.items()}
    alone = {name: _matrix(weight) - _matrix(base[name]) for name, weight in tuned.items()}
    parts = {name: geometry.split(before[name], before[name] + moved[name]) for name in moved}

    layers = {name: geometry.overlap(_of(moved, name, edit), edit) for name, edit in change.items()}
    for name, found in layers.items():
        yield from ((name, measure, getattr(found, measure)) for measure in OVERLAPS)
    stacked = [*_stacked(change, moved)]
    whole = sum((geometry.overlap(tune, edit) for tune, edit in stacked), start=geometry.Overlap())
    yield from (("", measure, getattr(whole, measure)) for measure in OVERLAPS)
    control = _along(change, alone)
    yield "", "along_control", control
    yield "", "remaining", 1 + whole.along - control
    angles = [geometry.first_angle(tune, edit) for tune, edit in stacked]
    yield "", "first_angle", min((angle for angle in angles if not math.isnan(angle)), default=math.nan)
    size = _squares(moved.values())
    yield "", "touched", _ratio(whole.tune, size)
    yield "", "norm", math.sqrt(size)
    own = _squares(_matrix(base[name]) for name, matrix in moved.items() if matrix.any())
    yield "", "dose", math.sqrt(_ratio(size, own))
    yield "", "magnitude", _ratio(_squares(magnitude for magnitude, _ in parts.values()), size)
    for number, part in enumerate(("along_magnitude", "along_direction")):
        yield "", part, _along(change, {name: pair[number] for name, pair in parts.items()})


OVERLAPS = ("along", "share", "share_by_chance", "beyond_chance")


def of_paths(edit, base, edited, tuned, edited_tuned) -> Iterator[tuple[str, float]]:
    """(measure, value) of one edit's prompts: `text_path` and `denoiser_path`.

    `<D, E> / <E, E>` with E the edit's change of the path's activations and D what the edit changes after the tuning
    (edited and tuned, less tuned alone): persistence, read from activations; 1 held fast, 0 nothing left.
    """
    for path in base[edit]:
        change = edited[edit][path] - base[edit][path]
        left = edited_tuned[edit][path] - tuned[edit][path]
        yield f"{path}_path", geometry.remaining(left, change)


def _matrix(weight) -> np.ndarray:
    """A parameter as a float64 matrix [out, in]: kernels are flattened, biases are columns."""
    array = np.asarray(weight, dtype=np.float64)
    return array.reshape(len(array), -1)


def _of(changes: Mapping[str, np.ndarray], name: str, like: np.ndarray) -> np.ndarray:
    return changes.get(name, np.zeros_like(like))


def _stacked(change, moved) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(T, E) of the layers of each input width as one matrix."""
    widths: dict[int, list[str]] = {}
    for name, matrix in change.items():
        widths.setdefault(matrix.shape[1], []).append(name)
    for names in widths.values():
        yield (
            np.concatenate([_of(moved, name, change[name]) for name in names]),
            np.concatenate([change[name] for name in names]),
        )


def _along(change, moved) -> float:
    inner = sum(float((_of(moved, name, edit) * edit).sum()) for name, edit in change.items())
    return _ratio(inner, _squares(change.values()))


def _squares(matrices) -> float:
    return float(sum((matrix**2).sum() for matrix in matrices))


def _ratio(upper: float, lower: float) -> float:
    return upper / lower if lower else math.nan
