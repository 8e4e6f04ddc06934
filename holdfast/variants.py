"""Edited models inside a state."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.edits import Edit, Probe


@dataclass(frozen=True)
class Variant:
    """One edited model inside a state: one edit, or edits of a task (all, or `edits_per_model`)."""

    id: str
    task: str
    edits: tuple[Edit, ...]

    @property
    def probes(self) -> tuple[Probe, ...]:
        return tuple(probe for edit in self.edits for probe in edit.probes)
