"""Every job of a study that computes or fetches, with its work and what it is declared to take and to leave."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from holdfast import causes, paths
from holdfast import lineage as lineages
from holdfast.lineage import EditStep, TuneStep
from holdfast.plan import costs as prices
from holdfast.plan import downloads
from holdfast.plan.costs import Costs
from holdfast.study import DENSE, Study

# What a tuning's checkpoint holds, in multiples of the weights that it trains: they, and the optimiser's moments.
CHECKPOINT = {"adamw": 3.0, "adamw8bit": 1.5, "adafactor": 1.0}


@dataclass(frozen=True)
class Job:
    """One job: its work in the rule's unit, and what it declares to take and to leave.

    `seconds` are of wall time on its `gpus`. `temporary`: its output goes once nothing needs it any more. `scratch` are
    kilobytes on disk while it runs. `family` and `method` say whose measured seconds are like its own.
    """

    rule: str
    name: str
    output: str
    work: float
    seconds: float
    kilobytes: float = 0.0
    family: str = ""
    method: str = ""
    gpus: int = 1
    temporary: bool = False
    scratch: float = 0.0


def jobs(study: Study) -> list[Job]:
    """Every job of the study, once."""
    costs = prices.of(study.config)
    found: dict[str, Job] = {}
    for job in (*_resources(study, costs), *_states(study, costs), *_pictures(study, costs), *_causes(study, costs)):
        found.setdefault(job.output, job)
    return list(found.values())


def _resources(study: Study, costs: dict[str, Costs]) -> Iterator[Job]:
    """Models, scorers and corpora."""
    config = study.config
    found = downloads.sources(study)
    for source in found:
        size = source.megabytes or 0.0
        if source.section in ("families", "scorers"):
            rule, place = {
                "families": ("download_model", paths.model),
                "scorers": ("download_scorer", paths.scorer),
            }[source.section]
            yield Job(rule, source.name, f"{place(source.name)}/manifest.json", size, 0.0, size * 1000)
    fetched = {source.name: 1000 * (source.megabytes or 0.0) for source in found if source.section == "corpora"}
    learned = downloads.learned(study)
    placebos = [(family, name) for family, name in learned if config["corpora"][name]["kind"] == "placebo"]
    for name in downloads.corpora(study):
        images = config["corpora"][name].get("images") or 0
        size = fetched.get(name, 2.0 * images)
        yield Job("draw_corpus", name, f"{paths.corpus(name)}/metadata.jsonl", images, 0.0, size)
    for family, name in placebos:
        price, images = costs[family], config["corpora"][name]["images"]
        seconds = price("seconds_per_job") + images * price("seconds_per_picture")
        output = f"{study.corpus_folder(family, name)}/metadata.jsonl"
        yield Job("draw_placebo", f"{name}/{family}", output, images, seconds, 2.0 * images, family)


def _states(study: Study, costs: dict[str, Costs]) -> Iterator[Job]:
    """Moments and deltas: every step of every lineage that is measured."""
    states = dict.fromkeys(
        (cell.family, source)
        for cell in (*study.cells(), *study.general_cells())
        for source in lineages.sources(cell.lineage)
    )
    temporary = study.tuners(temporary=True)
    for family, source in states:
        price, step = costs[family], lineages.parse(source)[-1]
        if isinstance(step, EditStep):
            if study.needs_moments(family, source):
                yield _moments(study, family, price)
            yield _edit(study, family, source, price)
        else:
            yield _tuning(study, family, source, step, price, step.tuner in temporary)


def _moments(study: Study, family: str, price: Costs) -> Job:
    job = study.moments_job(family)
    work = job["samples"] * len(job["modules"])
    seconds = price("seconds_per_job") + work * price("seconds_per_text")
    return Job("gather_moments", family, paths.moments(family), work, seconds, 500.0, family)


def _edit(study: Study, family: str, lineage: str, price: Costs) -> Job:
    job = study.edit_job(family, lineage)
    edits, method = sum(len(variant["edits"]) for variant in job["variants"]), job["method"]
    # Pictures that debiasing draws, at most: a job stops earlier where the shares are met.
    balanced = sum(edit["task"] == "debias" for variant in job["variants"] for edit in variant["edits"])
    drawn = balanced * job["settings"].get("debias_images", 0) * job["settings"].get("max_rounds", 0)
    seconds = price("seconds_per_job") + edits * price("seconds_per_edit", method)
    seconds += drawn * (price("seconds_per_picture") + price("seconds_per_scored_picture"))
    size = edits * price("kilobytes_per_edit", method)
    name, output = f"{family}/{lineage}", paths.delta(family, lineage)
    return Job("edit_model", name, output, edits, seconds, size, family, f"{method}{'-drawing' * bool(drawn)}")


def _tuning(study: Study, family: str, lineage: str, step: TuneStep, price: Costs, temporary: bool) -> Job:
    job, settings = study.tune_job(family, lineage), study.config["tuners"][step.tuner]
    variants, method = len(job["variants"]), job["method"]
    steps = variants * settings["steps"]
    pictures = steps * settings.get("batch_size", 1) * settings.get("accumulate", 1)
    drawn = 0
    if method == "dreambooth" and settings["prior_weight"]:
        # A picture of the class stands beside each of the subject.
        pictures, drawn = 2 * pictures, variants * settings["class_images"]
    gpus = settings.get("gpus", 1)
    seconds = price("seconds_per_job") + pictures * price("seconds_per_trained_picture", method) / gpus
    seconds += drawn * price("seconds_per_picture")
    size = price.at("kilobytes_per_model" if method in DENSE else "kilobytes_per_adapter", step.site)
    return Job(
        rule="tune_model",
        name=f"{family}/{lineage}",
        output=paths.delta(family, lineage),
        work=steps,
        seconds=seconds,
        kilobytes=variants * len(settings["snapshots"]) * size,
        family=family,
        method=f"{method}-{step.site}",
        gpus=gpus,
        temporary=temporary,
        scratch=variants * CHECKPOINT[settings.get("optimizer", "adamw")] * size,
    )


def _pictures(study: Study, costs: dict[str, Costs]) -> Iterator[Job]:
    """Samples, scores and qualities."""
    for cell in (*study.cells(), *study.general_cells()):
        price = costs[cell.family]
        job, name = study.sample_job(*cell), "/".join(cell)
        probes = len(job["probes"])
        if job["general"]:
            probes = len(job["general"]["variants"]) * job["general"]["images"]
        pictures = probes * job["seeds"] * len(job["tuning_steps"])
        drawing = price("seconds_per_job") + pictures * price("seconds_per_picture")
        size = pictures * price("kilobytes_per_picture")
        yield Job("sample_images", name, paths.samples(*cell), pictures, drawing, size, cell.family)
        scoring = price("seconds_per_job") + pictures * price("seconds_per_scored_picture")
        if cell.probes == paths.GENERAL:
            place, output = "/".join(cell[:2]), paths.quality(*cell[:2])
            yield Job("score_quality", place, output, pictures, scoring, 1.0, cell.family)
        else:
            yield Job("score_images", name, paths.scores(*cell), pictures, scoring, 0.1 * pictures, cell.family)


def _causes(study: Study, costs: dict[str, Costs]) -> Iterator[Job]:
    """What foretells persistence: every edited state, with those that were tuned from it."""
    for family, lineage in causes.tuned(study):
        price, job = costs[family], causes.job(study, family, lineage)
        states = len(job["variants"]) * sum(len(steps) for *_, steps, _ in job["tunings"])
        seconds = price("seconds_per_job") + states * price("seconds_per_traced_state")
        name, output = f"{family}/{lineage}", paths.causes(family, lineage)
        yield Job("trace_causes", name, output, states, seconds, 10.0 * states, family)
