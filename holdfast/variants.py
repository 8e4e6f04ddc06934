"""Edited models inside a state."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.edits import Edit, Probe
from holdfast.errors import HoldfastError


@dataclass(frozen=True)
class Variant:
    """One edited model inside a state: one edit, or edits of a task (all, or `edits_per_model`)."""

    id: str
    task: str
    edits: tuple[Edit, ...]

    @property
    def probes(self) -> tuple[Probe, ...]:
        return tuple(probe for edit in self.edits for probe in edit.probes)


def of(edits: tuple[Edit, ...], together: str, size: int | None, family: str) -> tuple[Variant, ...]:
    """The edited models of a family, in the order of the edits.

    together: `none` gives each edit a model, `task` those of a task together; then size: how many at most, None for
    all. Raises HoldfastError if a model should show two things for one source.
    """
    if together == "none":
        return tuple(Variant(edit.id, edit.task, (edit,)) for edit in edits)
    found = []
    for task in dict.fromkeys(edit.task for edit in edits):
        own = tuple(edit for edit in edits if edit.task == task)
        if size is None:
            found.append(Variant(task, task, own))
        else:
            parts = (own[start : start + size] for start in range(0, len(own), size))
            found += [Variant(f"{task}-{number}", task, part) for number, part in enumerate(parts)]
    for variant in found:
        _check_sources(variant, family)
    return tuple(found)


def _check_sources(variant: Variant, family: str) -> None:
    seen: dict[str, Edit] = {}
    for edit in variant.edits:
        if (known := seen.setdefault(edit.source, edit)) is not edit:
            raise HoldfastError(
                f"{edit.place}: '{edit.id}' and '{known.id}' both change '{edit.source}' in one model of {family}: set "
                "edits_per_model so that they fall into different ones, or together to none."
            )
