"""What a study would take, before anything expensive: jobs, work, hours, disk and downloads per rule.

Hours are measured where a job's benchmark is there, follow the measured jobs of the same rule and family where some
are, and the costs that the configuration declares where none is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from holdfast import lineage as lineages
from holdfast import paths
from holdfast.lineage import EditStep, TuneStep
from holdfast.study import Study

ADAPTERS = ("lora", "dora")
# Rules in the order of the study, with the unit that their work is counted in.
UNITS = {
    "download_model": "MB",
    "download_scorer": "MB",
    "draw_corpus": "pictures",
    "draw_placebo": "pictures",
    "gather_moments": "texts",
    "edit_model": "edits",
    "tune_model": "training steps",
    "sample_images": "pictures",
    "score_images": "pictures",
    "score_quality": "pictures",
}


@dataclass(frozen=True)
class Job:
    """One job: its work in the rule's unit, and what it declares to take and to leave."""

    rule: str
    name: str
    output: str
    work: float
    seconds: float
    kilobytes: float = 0.0
    family: str = ""


@dataclass
class Line:
    """One rule's share of the study, finished jobs included; `left` and `seconds_left` are without them."""

    rule: str
    unit: str
    jobs: int = 0
    left: int = 0
    work: float = 0
    seconds: float = 0.0
    seconds_left: float = 0.0
    megabytes: float = 0.0


def jobs(study: Study) -> list[Job]:
    """Every job of the study that computes or fetches, once."""
    found: dict[str, Job] = {}
    for job in (*_resources(study), *_states(study), *_pictures(study)):
        found.setdefault(job.output, job)
    return list(found.values())


def lines(study: Study, folder: str | Path = ".") -> list[Line]:
    """Each rule's share. `folder` is the study's, whose benchmarks and finished outputs count."""
    planned, folder = jobs(study), Path(folder)
    measured = {job: _seconds(folder / f"results/benchmarks/{job.rule}/{job.name}.tsv") for job in planned}
    known = defaultdict(lambda: [0.0, 0.0])
    for job, seconds in measured.items():
        if seconds is not None and job.work:
            known[job.rule, job.family][0] += seconds
            known[job.rule, job.family][1] += job.work
    table = {rule: Line(rule, unit) for rule, unit in UNITS.items()}
    for job, seconds in measured.items():
        line, output = table[job.rule], folder / job.output
        if seconds is None:
            taken, work = known[job.rule, job.family]
            seconds = taken / work * job.work if work else job.seconds
        done = output.is_file()
        line.jobs += 1
        line.work += job.work
        line.seconds += seconds
        line.left += not done
        line.seconds_left += 0.0 if done else seconds
        # A manifest or a list of captions stands for its folder, whose size is the job's work.
        weighs = done and output.suffix == ".safetensors"
        line.megabytes += output.stat().st_size / 1e6 if weighs else job.kilobytes / 1000
    return [line for line in table.values() if line.jobs]


def text(study: Study, folder: str | Path = ".") -> str:
    """The plan as a table to print."""
    table = lines(study, folder)
    sums = {name: sum(getattr(line, name) for line in table) for name in ("jobs", "left", "seconds", "seconds_left")}
    total = Line("in all", "", **sums, megabytes=sum(line.megabytes for line in table))
    rows = [("rule", "jobs", "to do", "work", "hours", "hours to do", "disk")] + [
        (
            line.rule,
            str(line.jobs),
            str(line.left),
            f"{line.work:,.0f} {line.unit}" if line.unit else "",
            f"{line.seconds / 3600:.2f}",
            f"{line.seconds_left / 3600:.2f}",
            f"{line.megabytes:,.1f} MB",
        )
        for line in [*table, total]
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    body = "\n".join(
        "  ".join(
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    cells = study.cells()
    families = dict.fromkeys(cell.family for cell in cells)
    models = ", ".join(f"{paths.model(name)} ({len(study.variants(name))} edited models)" for name in families)
    return (
        f"{study.config['study']}: {len(cells)} cells, {len(study.edits)} edits, base models in {models}.\n{body}\n"
        "Hours are those of one device, measured where jobs have run, and otherwise from the costs that the "
        "configuration declares for each family; tables, figures and the report come on top."
    )


def print_plan(study_arguments: dict, log: str) -> None:
    """Print the plan of `Study(**study_arguments)` and write it to `log`."""
    from holdfast.artifacts import write_text

    plan = text(Study(**study_arguments))
    print(plan)
    write_text(log, plan + "\n")


def _resources(study: Study) -> Iterator[Job]:
    """Models, scorers and corpora."""
    config = study.config
    used = {name for family in config["families"].values() for name in family["scorers"]}
    for section, rule, place in (
        ("families", "download_model", paths.model),
        ("scorers", "download_scorer", paths.scorer),
    ):
        for name, entry in config[section].items():
            if section == "families" or name in used:
                size = _manifest_bytes(entry.get("source")) / 1e6
                yield Job(rule, name, f"{place(name)}/manifest.json", size, size / 100, size * 1000)
    learned = dict.fromkeys(
        (cell.family, step.corpus)
        for cell in study.cells()
        for step in lineages.parse(cell.lineage)
        if isinstance(step, TuneStep)
    )
    placebos = [(family, name) for family, name in learned if config["corpora"][name]["kind"] == "placebo"]
    plain = [name for _, name in learned if config["corpora"][name]["kind"] != "placebo"]
    plain += [config["corpora"][name]["captions"] for _, name in placebos]
    plain += [config["general"]["corpus"]] if config["general"] else []
    for name in dict.fromkeys(plain):
        images = config["corpora"][name].get("images", 0)
        yield Job("draw_corpus", name, f"{paths.corpus(name)}/metadata.jsonl", images, 0.005 * images, 2.0 * images)
    for family, name in placebos:
        costs, images = config["families"][family]["costs"], config["corpora"][name]["images"]
        seconds = costs["seconds_per_job"] + images * costs["seconds_per_picture"]
        output = f"{study.corpus_folder(family, name)}/metadata.jsonl"
        yield Job("draw_placebo", f"{name}/{family}", output, images, seconds, 2.0 * images, family)


def _states(study: Study) -> Iterator[Job]:
    """Moments and deltas: every step of every lineage that is measured."""
    for cell in (*study.cells(), *study.general_cells()):
        family, costs = cell.family, study.config["families"][cell.family]["costs"]
        for source in lineages.sources(cell.lineage):
            output, name = paths.delta(family, source), f"{family}/{source}"
            if isinstance(lineages.parse(source)[-1], EditStep):
                if study.needs_moments(family, source):
                    job = study.moments_job(family)
                    work = job["samples"] * len(job["modules"])
                    seconds = costs["seconds_per_job"] + work * costs["seconds_per_text"]
                    yield Job("gather_moments", family, paths.moments(family), work, seconds, 500.0, family)
                job = study.edit_job(family, source)
                edits = sum(len(variant["edits"]) for variant in job["variants"])
                seconds = costs["seconds_per_job"] + edits * costs["seconds_per_edit"]
                seconds += _debias_pictures(job) * costs["seconds_per_picture"]
                yield Job("edit_model", name, output, edits, seconds, edits * costs["kilobytes_per_edit"], family)
            else:
                job = study.tune_job(family, source)
                variants, settings = len(job["variants"]), job["settings"]
                steps = variants * settings["steps"]
                seconds = costs["seconds_per_job"] + steps * costs["seconds_per_training_step"]
                seconds += variants * settings.get("class_images", 0) * costs["seconds_per_picture"]
                size = costs["kilobytes_per_adapter" if job["method"] in ADAPTERS else "kilobytes_per_model"]
                kept = variants * len(settings["snapshots"])
                yield Job("tune_model", name, output, steps, seconds, kept * size, family)


def _debias_pictures(job: dict) -> int:
    """Pictures that debiasing draws, at most: a job stops earlier where the shares are met."""
    balanced = sum(edit["task"] == "debias" for variant in job["variants"] for edit in variant["edits"])
    return balanced * job["settings"].get("debias_images", 0) * job["settings"].get("max_rounds", 0)


def _pictures(study: Study) -> Iterator[Job]:
    """Samples, scores and qualities."""
    for cell in (*study.cells(), *study.general_cells()):
        costs = study.config["families"][cell.family]["costs"]
        job, name = study.sample_job(*cell), "/".join(cell)
        probes = len(job["probes"])
        if job["general"]:
            probes = len(job["general"]["variants"]) * job["general"]["images"]
        pictures = probes * job["seeds"] * len(job["tuning_steps"])
        drawing = costs["seconds_per_job"] + pictures * costs["seconds_per_picture"]
        size = pictures * costs["kilobytes_per_picture"]
        yield Job("sample_images", name, paths.samples(*cell), pictures, drawing, size, cell.family)
        scoring = costs["seconds_per_job"] + pictures * costs["seconds_per_scored_picture"]
        if cell.probes == paths.GENERAL:
            place, output = "/".join(cell[:2]), paths.quality(*cell[:2])
            yield Job("score_quality", place, output, pictures, scoring, 1.0, cell.family)
        else:
            yield Job("score_images", name, paths.scores(*cell), pictures, scoring, 0.1 * pictures, cell.family)


def _manifest_bytes(source: str | None) -> int:
    """Bytes that a source's manifest lists; 0 where there is none."""
    import json

    file = Path(source or "") / "manifest.json"
    if not source or not file.is_file():
        return 0
    files = json.loads(file.read_text(encoding="utf-8")).get("files", {})
    return sum(entry["size"] for entry in files.values())


def _seconds(benchmark: Path) -> float | None:
    """Wall time in one of Snakemake's benchmark files; None where there is none."""
    if not benchmark.is_file():
        return None
    lines = benchmark.read_text(encoding="utf-8").splitlines()
    return float(lines[-1].split("\t")[0]) if len(lines) > 1 else None
