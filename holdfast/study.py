"""A study: which states exist, and what exactly each job must do.

A `Study` turns a checked configuration and its tables into job descriptions of plain dicts and lists. They are the
parameters of the jobs: a job runs again when, and only when, its own description changed or a file that it reads did.
So a description holds all that decides the job's values, and nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from holdfast import arms, concepts, judges, machine, paths, plugins, variants
from holdfast import lineage as lineages
from holdfast.arms import Cell
from holdfast.digests import closure, code_digest, imported, traced
from holdfast.edits import Edit, Probe
from holdfast.errors import HoldfastError
from holdfast.families import FAMILIES
from holdfast.lineage import EditStep, Step, TuneStep
from holdfast.variants import Variant

__all__ = ["BASE", "WORLD", "Cell", "Study", "Variant", "code_digest", "traced"]

# The variant of a state that has no edit in its lineage.
BASE = "base"
# The tasks in which an edit job measures pictures of its own, so that it samples and needs a scorer.
MEASURING = ("debias",)
# Settings of a tuner that are the machine's affair and no result's.
MACHINE = (*machine.TUNER, "keep")
# Methods that change every weight of their site, so that a state is as large as the model.
DENSE = ("full", "dreambooth")
# The modules that decide what the drawn world looks like.
WORLD = closure("world.draw", "world.scenes")


@dataclass(frozen=True)
class Study:
    """A checked configuration (`config.check`) with its edits and the concepts that edits must preserve, by task.

    `shown` says what the pictures of preserved concepts show (`edits.read_shown`), where that is known.
    """

    config: Mapping[str, Any]
    edits: tuple[Edit, ...]
    preserve: Mapping[str, tuple[str, ...]]
    shown: Mapping[str, Mapping[str, Mapping[str, str]]] = field(default_factory=dict)

    def variants(self, family: str) -> tuple[Variant, ...]:
        """The edited models of a family, in the order of the edits table; HoldfastError if one contradicts itself."""
        settings = self._family(family)
        return variants.of(self.edits, settings["together"], settings["edits_per_model"], family)

    def shards(self, family: str) -> tuple[tuple[Variant, ...], ...]:
        """The variants, `variants_per_job` at a time: appending an edit leaves the earlier shards as they are."""
        variants, size = self.variants(family), self._family(family)["variants_per_job"]
        return tuple(variants[start : start + size] for start in range(0, len(variants), size))

    def cells(self) -> tuple[Cell, ...]:
        """Every set of an edit's probes to measure, for each family, shard and arm, and for each lineage asked for."""
        return tuple(dict.fromkeys(arms.cells(self)))

    def general_cells(self) -> tuple[Cell, ...]:
        """Every state whose pictures of the general probes are compared with real ones."""
        general = self.config["general"]
        if general is None:
            return ()
        states = dict.fromkeys((cell.family, cell.lineage) for cell in self.cells())
        return tuple(
            Cell(*state, paths.GENERAL) for state in states if lineages.arm(state[1]) in ("base", *general["arms"])
        )

    def delta_files(self, family: str, lineage: str) -> list[str]:
        """The delta files that make a state from its base, in order; HoldfastError for a step that the study lacks."""
        for number, step in enumerate(lineages.parse(lineage)):
            self._check_step(family, step, first=number == 0)
        self._edited(family, lineage)
        return [paths.delta(family, source) for source in lineages.sources(lineage)]

    def tuners(self, temporary: bool) -> list[str]:
        """The tuners whose states leave the disk once nothing needs them any more, or those whose states stay."""
        return [
            name
            for name, tuner in self.config["tuners"].items()
            if (tuner["method"] in DENSE and not tuner["keep"]) == temporary
        ]

    def machine(self, family: str, tuner: str | None = None) -> dict[str, int | str]:
        """How a machine runs the jobs of a family, and of a tuner on it; no result depends on it."""
        return machine.settings(self._family(family), self.config["tuners"][tuner] if tuner else None)

    def relations(self) -> dict[str, str]:
        """What each corpus has to do with the edits."""
        return {name: corpus["relation"] for name, corpus in self.config["corpora"].items()}

    def corpus_folder(self, family: str, corpus: str) -> str:
        """Where a family finds a corpus: a placebo is drawn by the family itself, so each has its own."""
        return paths.corpus(corpus, family if self._corpus(corpus)["kind"] == "placebo" else None)

    def corpus_job(self, corpus: str) -> dict[str, Any]:
        """How a corpus is made that is the same for all families."""
        settings = dict(self._corpus(corpus))
        if settings["kind"] == "placebo":
            raise HoldfastError(f"'{corpus}' is a placebo, which each family draws itself: ask for its own folder.")
        del settings["relation"]
        # Each kind is made by packages of its own.
        makers = {"world": ("world",), "dataset": ("datasets",), "captions": ("tables", "importers")}
        without = [name for kind, names in makers.items() if kind != settings["kind"] for name in names]
        return {**settings, "name": corpus, "code": traced("jobs.corpus", without=tuple(without))}

    def placebo_job(self, family: str, corpus: str) -> dict[str, Any]:
        """How a family draws a placebo: its own pictures of the captions of another corpus."""
        settings = dict(self._corpus(corpus))
        if settings["kind"] != "placebo":
            raise HoldfastError(f"'{corpus}' is no placebo: it is the same for all families.")
        return {
            **self._common(family, "base"),
            "corpus": corpus,
            **{name: settings[name] for name in ("captions", "images", "seed")},
            "sampling": self._sampling(family),
            "code": traced("jobs.placebo", self._kind(family), without=("world",)),
        }

    def moments_job(self, family: str) -> dict[str, Any]:
        """Which layers' second moments the family's ReFACT editors need, and over which texts."""
        layers = set()
        for name, editor in self.config["editors"].items():
            if editor["method"] == "refact" and self.edits_family(name, family):
                known = FAMILIES[self._family(family)["kind"]].ENCODERS
                encoders = known if editor["encoder"] == "all" else (editor["encoder"],)
                layer = editor["layer"]
                layers |= {(encoder, layer if isinstance(layer, int) else layer[encoder]) for encoder in encoders}
        return {
            **self._common(family, "base"),
            **self.config["moments"],
            "modules": [list(layer) for layer in sorted(layers)],
            "code": traced(
                "jobs.moments",
                self._kind(family),
                without=() if self.config["moments"]["texts"] == "world" else ("world",),
            ),
        }

    def needs_moments(self, family: str, lineage: str) -> bool:
        """Whether the last step of `lineage` edits by second moments."""
        return self.config["editors"][self._last(family, lineage, EditStep).editor]["method"] == "refact"

    def needs_scorer(self, family: str, lineage: str) -> bool:
        """Whether the last step of `lineage` measures pictures of its own."""
        return any(variant.task in MEASURING for variant in self._edited(family, lineage))

    def edit_job(self, family: str, lineage: str) -> dict[str, Any]:
        """What the last step of `lineage`, an edit step, has to do. `sampling` is None where it draws no pictures."""
        step, measures = self._last(family, lineage, EditStep), self.needs_scorer(family, lineage)
        settings = dict(self.config["editors"][step.editor])
        method = settings.pop("method")
        for name in ("tasks", "families"):
            settings.pop(name, None)
        return {
            **self._common(family, lineage),
            "method": method,
            "settings": settings,
            "sampling": self._sampling(family) if measures else None,
            "variants": [
                {
                    "id": variant.id,
                    "task": variant.task,
                    "edits": [
                        {"id": edit.id, "task": edit.task, "source": edit.source, "target": edit.target}
                        for edit in variant.edits
                    ],
                    "preserve": concepts.preserved(self._kept(variant.task, variant.edits), variant.edits),
                }
                for variant in self._edited(family, lineage)
            ],
            "code": self._code(
                "edit", "editors", method, family, without=() if measures else ("sampling", "scorers", "noise")
            ),
        }

    def tune_job(self, family: str, lineage: str) -> dict[str, Any]:
        """What the last step of `lineage`, a tune step, has to do. `sampling` is None where it draws no pictures."""
        step = self._last(family, lineage, TuneStep)
        settings = dict(self.config["tuners"][step.tuner])
        method = settings.pop("method")
        for name in MACHINE:
            settings.pop(name, None)
        draws = method == "dreambooth" or plugins.is_file(method)
        return {
            **self._common(family, lineage),
            "method": method,
            "settings": settings,
            "sampling": self._sampling(family) if draws else None,
            "site": step.site,
            "seed": step.seed,
            "corpus": step.corpus,
            "variants": [variant.id for variant in self._edited(family, lineage)] or [BASE],
            "code": self._code("tune", "tuners", method, family, without=() if draws else ("sampling", "noise")),
        }

    def sample_job(self, family: str, lineage: str, probes: str) -> dict[str, Any]:
        """Which pictures of `probes` a state has to draw, and how.

        The general probes are captions of a corpus, which the job reads: `general` says how many, for which variants.
        """
        job = {**self._common(family, lineage), **self._sampling(family)}
        steps = self._tuning_steps(lineage)
        if probes == paths.GENERAL:
            variants = [variant.id for variant in self._edited(family, lineage)] or [BASE]
            job |= {"probes": [], "general": {"variants": variants, "images": self._general()["images"]}}
            job |= {"seeds": 1, "tuning_steps": steps[-1:]}
        else:
            drawn = self._drawn(family, lineage, probes)
            job |= {"probes": [[variant, probe.id, probe.prompt] for variant, probe in drawn], "general": None}
            job |= {"seeds": self.config["seeds"], "tuning_steps": steps}
        # Only the general probes are read from a corpus.
        without = () if probes == paths.GENERAL else ("corpora",)
        return {**job, "code": traced("jobs.sample", self._kind(family), without=without)}

    def score_job(self, family: str, lineage: str, probes: str) -> dict[str, Any]:
        """What has to be measured on the pictures of `probes` that a state drew."""
        drawn = self._drawn(family, lineage, probes)
        owners = {edit.id: edit for edit in self.edits}
        return {
            **self._common(family, lineage),
            "probes": [vars(probe) for _, probe in drawn],
            "rivals": {probe.id: self._rivals(owners[probe.edit], probe) for _, probe in drawn},
            **judges.described(self.config, family, "score"),
        }

    def quality_job(self, family: str, lineage: str) -> dict[str, Any]:
        """What the pictures of the general probes that a state drew are compared with."""
        general = self._general()
        return {
            **self._common(family, lineage),
            "reference": None if general["reference"] == "base" else general["corpus"],
            "images": general["images"],
            **judges.described(self.config, family, "quality"),
        }

    def export_job(self, family: str, lineage: str, variant: str) -> dict[str, Any]:
        """Which model of a state to write as a pipeline folder: `VARIANT`, or `VARIANT@STEP` for a snapshot."""
        name, _, step = variant.partition("@")
        known = [edited.id for edited in self._edited(family, lineage)] or [BASE]
        steps = self._tuning_steps(lineage)
        if name not in known or (step and int(step) not in steps):
            snapshots = f", with @STEP for one of {', '.join(map(str, steps))}" if steps != [0] else ""
            raise HoldfastError(
                f"The state '{lineage}' of {family} holds no '{variant}': take one of {', '.join(known)}{snapshots}."
            )
        return {
            **self._common(family, lineage),
            "variant": name,
            "tuning_step": int(step) if step else None,
            "code": traced("jobs.export", self._kind(family)),
        }

    def adapter_job(self, family: str, lineage: str, variant: str) -> dict[str, Any]:
        """Which adapter to write in diffusers' format: `VARIANT`, or `VARIANT@STEP` for a snapshot."""
        if any(map(lineages.ending, lineages.parse(lineage))):
            raise HoldfastError(
                f"The state '{lineage}' has no adapter of its own: ask for the lineage without its ending."
            )
        return {**self.export_job(family, lineage, variant), "code": traced("jobs.adapter", self._kind(family))}

    def images_job(self, family: str, lineage: str, probes: str) -> dict[str, Any]:
        """How the pictures of `probes` that a state drew become files."""
        return {
            **self._common(family, lineage),
            "code": traced("jobs.images", self._kind(family)),
        }

    def _kept(self, task: str, edits: Collection[Edit]) -> Collection[str]:
        """The concepts that edits of a task leave alone: those of the table, or these edits' own neighbours."""
        if self.config["preserve"] == concepts.NEIGHBOURS:
            return concepts.neighbours(edits)
        return self.preserve.get(task, ())

    def _rivals(self, edit: Edit, probe: Probe) -> list[str]:
        return concepts.rivals(edit, probe, self._kept(probe.task, [edit]), self.shown.get(probe.task, {}))

    def _code(self, job: str, registry: str, method: str, family: str, without: tuple[str, ...]) -> str:
        """Digest of all that a method's job does, the method's own file and what it uses of this package included."""
        if plugins.is_file(method):
            own = plugins.digest(method)
            return f"{traced(f'jobs.{job}', self._kind(family), *imported(method))}-{own}"
        return traced(f"jobs.{job}", f"{registry}.{method}", self._kind(family), without=without)

    def _kind(self, family: str) -> str:
        return f"families.{self._family(family)['kind']}"

    def _family(self, family: str) -> Mapping[str, Any]:
        if family not in self.config["families"]:
            known = ", ".join(self.config["families"])
            raise HoldfastError(
                f"The study has no family '{family}': take one of {known}, or add it to the configuration."
            )
        return self.config["families"][family]

    def _corpus(self, corpus: str) -> Mapping[str, Any]:
        if corpus not in self.config["corpora"]:
            raise HoldfastError(f"The study has no corpus '{corpus}': add it to the configuration.")
        return self.config["corpora"][corpus]

    def _general(self) -> Mapping[str, Any]:
        if self.config["general"] is None:
            raise HoldfastError("The study has no general probes: add `general` with a corpus to the configuration.")
        return self.config["general"]

    def _common(self, family: str, lineage: str) -> dict[str, Any]:
        return {"family": family, "loading": self.loading(family), "lineage": lineage}

    def _sampling(self, family: str) -> dict[str, Any]:
        return {name: self._family(family)[name] for name in ("steps", "guidance_scale")}

    def loading(self, family: str) -> dict[str, Any]:
        """How a family is loaded, as far as results depend on it: keywords of `families.load` and `states.State`."""
        return {name: self._family(family)[name] for name in ("kind", "dtype", "size", "text_tokens")}

    def edits_family(self, editor: str, family: str) -> bool:
        """Whether an editor is used on a family."""
        return family in self.config["editors"][editor].get("families", self.config["families"])

    def _check_step(self, family: str, step: Step, first: bool = False) -> None:
        self._family(family)
        if isinstance(step, EditStep):
            known = step.editor in self.config["editors"] and step.shard < len(self.shards(family))
            known = known and self.edits_family(step.editor, family)
        else:
            known = step.tuner in self.config["tuners"] and step.corpus in self.config["corpora"]
            known = known and not (first and (step.carried or step.projected))
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
        self._check_step(family, steps[-1], first=len(steps) == 1)
        return steps[-1]

    def _edited(self, family: str, lineage: str) -> tuple[Variant, ...]:
        """The variants inside a state, those of a task that all its editors take; none if no edit is in its lineage."""
        steps = [step for step in lineages.parse(lineage) if isinstance(step, EditStep)]
        if not steps:
            return ()
        for step in steps:
            self._check_step(family, step)
        if len({step.shard for step in steps}) > 1:
            raise HoldfastError(f"The lineage '{lineage}' edits two shards: a state holds the variants of one.")
        tasks = set.intersection(*({*self.config["editors"][step.editor]["tasks"]} for step in steps))
        if chosen := tuple(variant for variant in self.shards(family)[steps[0].shard] if variant.task in tasks):
            return chosen
        raise HoldfastError(
            f"The lineage '{lineage}' edits nothing of {family}: no edit of its shard is of a task of its editors."
        )

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
        if not {variant.id for variant in edited} <= {variant.id for variant in shard}:
            raise HoldfastError(
                f"The state '{lineage}' holds other edits than '{probes}': ask for the probes of its shard."
            )
        return [(variant.id if edited else BASE, probe) for variant in edited or shard for probe in variant.probes]

    def _tuning_steps(self, lineage: str) -> list[int]:
        """The snapshots to draw, by their training steps: all of a tuning that ends the lineage, the last one of a
        tuning that was edited since; 0 alone where nothing was tuned."""
        steps = lineages.parse(lineage)
        tunings = [step for step in steps if isinstance(step, TuneStep)]
        if not tunings:
            return [0]
        snapshots = list(self.config["tuners"][tunings[-1].tuner]["snapshots"])
        return snapshots if steps[-1] == tunings[-1] else snapshots[-1:]
