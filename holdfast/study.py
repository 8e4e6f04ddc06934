"""A study: which states exist, and what exactly each job must do.

A `Study` turns a checked configuration and its tables into job descriptions of plain dicts and lists. They are the
parameters of the jobs: a job runs again when, and only when, its own description changed or a file that it reads did.
So a description holds all that decides the job's values, and nothing else.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from holdfast import lineage as lineages
from holdfast import paths
from holdfast.edits import Edit, Probe
from holdfast.errors import HoldfastError
from holdfast.lineage import EditStep, TuneStep

# The variant of a state that has no edit in its lineage.
BASE = "base"
# The modules that decide what a scorer of a kind measures.
SCORERS = {"clip": ("scorers.clip",), "classifier": ("scorers.classifier", "scorers.network")}
# The modules that decide what a drawn corpus looks like.
WORLD = ("world.draw", "world.figures", "world.pen", "world.scenes", "world.things", "world.vocabulary")


@dataclass(frozen=True)
class Variant:
    """One edited model inside a state: one edit, or all edits of a task."""

    id: str
    task: str
    edits: tuple[Edit, ...]

    @property
    def probes(self) -> tuple[Probe, ...]:
        return tuple(probe for edit in self.edits for probe in edit.probes)


class Cell(NamedTuple):
    """One set of pictures to measure: the probes of one shard, drawn by one state."""

    family: str
    lineage: str
    probes: str


@dataclass(frozen=True)
class Study:
    """A checked configuration (`config.check`) with its edits and the concepts that edits must preserve, by task.

    `shown` says what the pictures of preserved concepts show (`edits.read_shown`), where that is known.
    """

    config: Mapping[str, Any]
    edits: tuple[Edit, ...]
    preserve: Mapping[str, tuple[str, ...]]
    shown: Mapping[str, Mapping[str, Mapping[str, str]]] = field(default_factory=dict)

    def check_labels(self) -> None:
        """Refuse labels of the tables that a classifier of the study doesn't know, before anything is computed.

        What it knows is in the config.json at its configured source; where that file isn't, its job will tell.
        """
        used = {name for family in self.config["families"].values() for name in family["scorers"]}
        for name in sorted(used):
            scorer = self.config["scorers"][name]
            file = Path(scorer["source"]) / "config.json"
            if scorer["kind"] != "classifier" or not file.is_file():
                continue
            try:
                heads = json.loads(file.read_text(encoding="utf-8"))["heads"]
                heads = {head: [*values] for head, values in heads.items()}
            except (ValueError, KeyError, TypeError, AttributeError):
                raise HoldfastError(f"{file}: this describes no classifier: it needs heads and their labels.") from None
            for table, owner, labels in self._labels():
                for head, value in labels.items():
                    if value not in heads.get(head, ()):
                        known = ", ".join(f"{head}={label}" for label in heads.get(head, ())) or ", ".join(heads)
                        raise HoldfastError(
                            f"{table}: {owner} has the label {head}={value}, which {name} can't tell; it knows {known}."
                        )

    def _labels(self) -> Iterator[tuple[str, str, Mapping[str, str]]]:
        """(table, whose, labels) of everything that has labels."""
        for edit in self.edits:
            for probe in edit.probes:
                yield self.config["edits"], f"the probe '{probe.id}'", probe.old_labels
                yield self.config["edits"], f"the probe '{probe.id}'", probe.new_labels
        for concepts in self.shown.values():
            for concept, labels in concepts.items():
                yield self.config["preserve"], f"the concept '{concept}'", labels

    def variants(self, family: str) -> tuple[Variant, ...]:
        """The edited models of a family, in the order of the edits table."""
        if self._family(family)["together"] == "none":
            return tuple(Variant(edit.id, edit.task, (edit,)) for edit in self.edits)
        tasks = dict.fromkeys(edit.task for edit in self.edits)
        return tuple(Variant(task, task, tuple(edit for edit in self.edits if edit.task == task)) for task in tasks)

    def shards(self, family: str) -> tuple[tuple[Variant, ...], ...]:
        """The variants, `variants_per_job` at a time: appending an edit leaves the earlier shards as they are."""
        variants, size = self.variants(family), self._family(family)["variants_per_job"]
        return tuple(variants[start : start + size] for start in range(0, len(variants), size))

    def tunings(self) -> tuple[TuneStep, ...]:
        """Every tune step of the study."""
        return tuple(
            TuneStep(tuning["tuner"], tuning["site"], tuning["corpus"], seed)
            for tuning in self.config["tunings"]
            for seed in tuning["seeds"]
        )

    def cells(self) -> tuple[Cell, ...]:
        """Everything to measure: base, edited, tuned only, and edited then tuned, for each family and shard."""
        return tuple(self._cells())

    def delta_files(self, family: str, lineage: str) -> list[str]:
        """The delta files that make a state from its base, in order; HoldfastError for a step that the study lacks."""
        for step in lineages.parse(lineage):
            self._check_step(family, step)
        return [paths.delta(family, prefix) for prefix in lineages.prefixes(lineage)]

    def relations(self) -> dict[str, str]:
        """What each corpus has to do with the edits."""
        return {name: corpus["relation"] for name, corpus in self.config["corpora"].items()}

    def corpus_job(self, corpus: str) -> dict[str, Any]:
        """How a corpus is made."""
        if corpus not in self.config["corpora"]:
            raise HoldfastError(f"The study has no corpus '{corpus}': add it to the configuration.")
        settings = dict(self.config["corpora"][corpus])
        if settings["kind"] == "folder":
            return {"kind": "folder", "path": settings["path"], "code": code_digest("jobs.corpus", "corpora")}
        del settings["relation"]
        return {**settings, "name": corpus, "code": code_digest("jobs.corpus", "corpora", *WORLD)}

    def edit_job(self, family: str, lineage: str) -> dict[str, Any]:
        """What the last step of `lineage`, an edit step, has to do."""
        step = self._last(family, lineage, EditStep)
        settings = dict(self.config["editors"][step.editor])
        method, kind = settings.pop("method"), self._family(family)["kind"]
        return {
            **self._common(family, lineage),
            "method": method,
            "settings": settings,
            "variants": [
                {
                    "id": variant.id,
                    "edits": [{"id": edit.id, "source": edit.source, "target": edit.target} for edit in variant.edits],
                    "preserve": self._preserved(variant),
                }
                for variant in self.shards(family)[step.shard]
            ],
            "code": code_digest("jobs.edit", "states", f"editors.{method}", f"families.{kind}"),
        }

    def tune_job(self, family: str, lineage: str) -> dict[str, Any]:
        """What the last step of `lineage`, a tune step, has to do."""
        step = self._last(family, lineage, TuneStep)
        settings = dict(self.config["tuners"][step.tuner])
        method, kind = settings.pop("method"), self._family(family)["kind"]
        return {
            **self._common(family, lineage),
            "method": method,
            "settings": settings,
            "site": step.site,
            "seed": step.seed,
            "corpus": step.corpus,
            "variants": [variant.id for variant in self._edited(family, lineage)] or [BASE],
            "code": code_digest(
                "jobs.tune", "states", "corpora", f"tuners.{method}", "tuners.loop", "tuners.cache", f"families.{kind}"
            ),
        }

    def sample_job(self, family: str, lineage: str, probes: str) -> dict[str, Any]:
        """Which pictures of `probes` a state has to draw, and how."""
        settings = self._family(family)
        return {
            **self._common(family, lineage),
            "probes": [[variant, probe.id, probe.prompt] for variant, probe in self._drawn(family, lineage, probes)],
            "seeds": self.config["seeds"],
            "tuning_steps": self._tuning_steps(lineage),
            "steps": settings["steps"],
            "guidance_scale": settings["guidance_scale"],
            "batch_size": settings["batch_size"],
            "code": code_digest("jobs.sample", "states", "sampling", "noise", f"families.{settings['kind']}"),
        }

    def score_job(self, family: str, lineage: str, probes: str) -> dict[str, Any]:
        """What has to be measured on the pictures of `probes` that a state drew."""
        settings = self._family(family)
        kinds = {name: self.config["scorers"][name]["kind"] for name in settings["scorers"]}
        return {
            **self._common(family, lineage),
            "scorers": kinds,
            "probes": [vars(probe) for _, probe in self._drawn(family, lineage, probes)],
            "rivals": {
                probe.id: self._rivals(edit, probe)
                for variant in self._shard(family, probes)
                for edit in variant.edits
                for probe in edit.probes
            },
            "batch_size": settings["batch_size"],
            "code": code_digest(
                "jobs.score",
                "states",
                "sampling",
                f"families.{settings['kind']}",
                *(module for kind in kinds.values() for module in SCORERS[kind]),
            ),
        }

    def _family(self, family: str) -> Mapping[str, Any]:
        if family not in self.config["families"]:
            known = ", ".join(self.config["families"])
            raise HoldfastError(
                f"The study has no family '{family}': take one of {known}, or add it to the configuration."
            )
        return self.config["families"][family]

    def _common(self, family: str, lineage: str) -> dict[str, Any]:
        return {"family": family, "kind": self._family(family)["kind"], "lineage": lineage}

    def _cells(self) -> Iterator[Cell]:
        for family in self.config["families"]:
            for shard in range(len(self.shards(family))):
                edits = [(), *((EditStep(editor, shard),) for editor in self.config["editors"])]
                tunes = [(), *((step,) for step in self.tunings())]
                for edit in edits:
                    for tune in tunes:
                        yield Cell(family, lineages.join(edit + tune), paths.probes(shard))

    def _check_step(self, family: str, step: EditStep | TuneStep) -> None:
        if isinstance(step, EditStep):
            known = step.editor in self.config["editors"] and step.shard < len(self.shards(family))
        else:
            known = step.tuner in self.config["tuners"] and step.corpus in self.config["corpora"] and not step.carried
        if not known:
            raise HoldfastError(
                f"The study has no step '{step}' for {family}: look at editors, "
                "tuners, corpora and the number of edits in the configuration."
            )

    def _last(self, family: str, lineage: str, kind: type) -> Any:
        steps = lineages.parse(lineage)
        if not steps or not isinstance(steps[-1], kind):
            raise HoldfastError(
                f"The lineage '{lineage}' does not end in such a step: check the path that was asked for."
            )
        self._check_step(family, steps[-1])
        return steps[-1]

    def _edited(self, family: str, lineage: str) -> tuple[Variant, ...]:
        """The variants inside a state; none if no edit is in its lineage."""
        shards = [step.shard for step in lineages.parse(lineage) if isinstance(step, EditStep)]
        if len(set(shards)) > 1:
            raise HoldfastError(f"The lineage '{lineage}' edits two shards: a state holds the variants of one.")
        return self.shards(family)[shards[0]] if shards else ()

    def _shard(self, family: str, probes: str) -> tuple[Variant, ...]:
        for number, shard in enumerate(self.shards(family)):
            if paths.probes(number) == probes:
                return shard
        raise HoldfastError(
            f"The study has no probes '{probes}' for {family}: it has {len(self.shards(family))} shard(s)."
        )

    def _drawn(self, family: str, lineage: str, probes: str) -> list[tuple[str, Probe]]:
        """(variant, probe) in order: every edited model draws its own probes, a state without edits draws them all."""
        shard, edited = self._shard(family, probes), self._edited(family, lineage)
        if edited and edited != shard:
            raise HoldfastError(
                f"The state '{lineage}' holds other edits than '{probes}': ask for the probes of its shard."
            )
        return [(variant.id if edited else BASE, probe) for variant in shard for probe in variant.probes]

    def _tuning_steps(self, lineage: str) -> list[int]:
        """The last tuning's snapshots; 0 alone where nothing was tuned."""
        tunings = [step for step in lineages.parse(lineage) if isinstance(step, TuneStep)]
        return list(self.config["tuners"][tunings[-1].tuner]["snapshots"]) if tunings else [0]

    def _preserved(self, variant: Variant) -> list[str]:
        """The task's concepts to leave alone, without those that the variant edits: both at once would cancel out."""
        edited = {_bare(edit.source) for edit in variant.edits}
        return [concept for concept in self.preserve.get(variant.task, ()) if _bare(concept) not in edited]

    def _rivals(self, edit: Edit, probe: Probe) -> list[str]:
        """The texts that compete with a probe's `old` and `new` for its pictures: something else than either.

        The task's preserved concepts, and for a neighbour the edit's own source and target, without those that the
        probe's texts contain ("a rose" is no rival of "a rose at night") and without those that are known to show what
        `old` or `new` shows ("the sheriff" is drawn like "the king"). Not the other edits' texts: an edit added or
        changed would then change every other edit's scores.
        """
        shown = dict(self.shown.get(edit.task, {}))
        rivals = [*self.preserve.get(edit.task, ())]
        if probe.role == "specificity":
            rivals = [edit.source, edit.target, *rivals]
            own = next((other for other in edit.probes if other.role == "efficacy"), None)
            if own is not None:
                shown |= {edit.source: own.old_labels, edit.target: own.new_labels}
        else:
            rivals = [text for text in rivals if _bare(text) not in (_bare(edit.source), _bare(edit.target))]
        same = [labels for labels in (probe.old_labels, probe.new_labels) if labels]
        texts = f" {probe.old} {probe.new} ".lower()
        return [
            text for text in dict.fromkeys(rivals) if f" {_bare(text)} " not in texts and shown.get(text) not in same
        ]


def _bare(concept: str) -> str:
    """A concept without its article."""
    words = concept.lower().split()
    return " ".join(words[1:] if words[0] in ("a", "an", "the") and len(words) > 1 else words)


def code_digest(*modules: str) -> str:
    """Digest of what modules of this package do: of their syntax trees, so that comments, docstrings, layout and the
    files' dates leave it alone. Names are relative to the package (`editors.uce`)."""
    return hashlib.sha256("\n".join(_tree(module) for module in sorted(modules)).encode()).hexdigest()[:16]


@functools.cache
def _tree(module: str) -> str:
    folder = Path(__file__).parent.joinpath(*module.split("."))
    file = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:]
    return f"{module} {ast.dump(tree)}"
