"""Which states are asked for the causes of their persistence, and what a job of `jobs.causes` has to do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from holdfast import lineage as lineages
from holdfast import paths
from holdfast.digests import traced
from holdfast.edits import NEEDED
from holdfast.study import Study

# The roles of the prompts whose path through the model is followed: those that say whether an edit was made.
FOLLOWED = frozenset(role for roles in NEEDED.values() for role in roles)

# The study that was asked last, and what was found.
_LAST: list[Any] = []


def tuned(study: Study) -> dict[tuple[str, str], tuple[str, ...]]:
    """(family, edited state) -> the states that one tuning made of it, where the study tunes it.

    Temporary states are none of them: a job reads all states of an edit, which would have to lie on the disk together.
    """
    # Every job asks, and the states of a study are thousands.
    if _LAST and _LAST[0] is study:
        return _LAST[1]
    temporary = study.tuners(temporary=True)
    found: dict[tuple[str, str], list[str]] = {}
    for family, lineage in dict.fromkeys((cell.family, cell.lineage) for cell in study.cells()):
        if lineages.arm(lineage) == "edited_tuned" and lineages.parse(lineage)[-1].tuner not in temporary:
            found.setdefault((family, lineages.parent(lineage)), []).append(lineage)
    _LAST[:] = study, {key: tuple(states) for key, states in found.items()}
    return _LAST[1]


def files(study: Study) -> list[str]:
    """Every file of causes of the study."""
    return [paths.causes(*key) for key in tuned(study)]


def deltas(study: Study, family: str, lineage: str) -> list[str]:
    """The delta files that a job reads: the edit's own, and each tuning's on the edited state and on the base."""
    return list(dict.fromkeys(_deltas(study, family, lineage)))


def _deltas(study: Study, family: str, lineage: str) -> Iterator[str]:
    yield from study.delta_files(family, lineage)
    for state in tuned(study).get((family, lineage), ()):
        yield paths.delta(family, state)
        yield paths.delta(family, control(state))


def corpora(study: Study, family: str, lineage: str) -> list[str]:
    """The names of the corpora that these tunings learned."""
    states = tuned(study).get((family, lineage), ())
    return list(dict.fromkeys(lineages.parse(state)[-1].corpus for state in states))


def control(state: str) -> str:
    """The same tuning of the base."""
    return lineages.join(lineages.parse(state)[-1:])


def job(study: Study, family: str, lineage: str) -> dict[str, Any]:
    """What has to be traced from one edited state to all that were tuned from it."""
    described = study.edit_job(family, lineage)
    ids = {edit["id"]: variant["id"] for variant in described["variants"] for edit in variant["edits"]}
    prompts: dict[str, list[list[str]]] = {variant["id"]: [] for variant in described["variants"]}
    for edit in study.edits:
        if edit.id in ids:
            rows = [[edit.id, probe.id, probe.prompt] for probe in edit.probes if probe.role in FOLLOWED]
            prompts[ids[edit.id]] += rows
    return {
        **{name: described[name] for name in ("family", "lineage", "loading")},
        "guidance_scale": study.config["families"][family]["guidance_scale"],
        "variants": [[variant["id"], variant["task"], prompts[variant["id"]]] for variant in described["variants"]],
        "tunings": [
            [state, control(state), tuning["settings"]["snapshots"], tuning["corpus"]]
            for state in tuned(study)[family, lineage]
            for tuning in [study.tune_job(family, state)]
        ],
        "corpora": corpora(study, family, lineage),
        "code": traced("jobs.causes", f"families.{described['loading']['kind']}"),
    }
