"""What a study would take, before anything expensive: jobs, pictures and hours per rule, from declared costs."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast import lineage as lineages
from holdfast import paths
from holdfast.lineage import EditStep
from holdfast.study import Study


@dataclass
class Line:
    """One rule's share of the study; `work` counts edits, training steps, pictures drawn or pictures scored."""

    rule: str
    unit: str
    jobs: int = 0
    work: int = 0
    seconds: float = 0.0


def lines(study: Study) -> list[Line]:
    """Jobs, work and seconds of each rule that computes, for the whole study (finished jobs included)."""
    table = {
        rule: Line(rule, unit)
        for rule, unit in {
            "edit_model": "edits",
            "tune_model": "training steps",
            "sample_images": "pictures",
            "score_images": "pictures",
        }.items()
    }

    def add(rule: str, family: str, work: int, seconds_each: float) -> None:
        line, costs = table[rule], study.config["families"][family]["costs"]
        line.jobs += 1
        line.work += work
        line.seconds += costs["seconds_per_job"] + work * seconds_each

    states = set()
    for cell in study.cells():
        costs = study.config["families"][cell.family]["costs"]
        job = study.sample_job(*cell)
        pictures = len(job["probes"]) * job["seeds"] * len(job["tuning_steps"])
        add("sample_images", cell.family, pictures, costs["seconds_per_picture"])
        add("score_images", cell.family, pictures, 0.0)
        for prefix in lineages.prefixes(cell.lineage):
            if (cell.family, prefix) in states:
                continue
            states.add((cell.family, prefix))
            if isinstance(lineages.parse(prefix)[-1], EditStep):
                variants = study.edit_job(cell.family, prefix)["variants"]
                add("edit_model", cell.family, sum(len(variant["edits"]) for variant in variants), 0.0)
            else:
                job = study.tune_job(cell.family, prefix)
                steps = len(job["variants"]) * job["settings"]["steps"]
                add("tune_model", cell.family, steps, costs["seconds_per_training_step"])
    return list(table.values())


def text(study: Study) -> str:
    """The plan as a table to print."""
    table = lines(study)
    total = Line("in all", "", sum(line.jobs for line in table), 0, sum(line.seconds for line in table))
    rows = [("rule", "jobs", "work", "hours")] + [
        (line.rule, str(line.jobs), f"{line.work:,} {line.unit}" if line.unit else "", f"{line.seconds / 3600:.2f}")
        for line in [*table, total]
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    body = "\n".join(
        "  ".join(
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    cells = study.cells()
    where = ", ".join(dict.fromkeys(paths.model(cell.family) for cell in cells))
    return (
        f"{study.config['study']}: {len(cells)} cells, {len(study.edits)} edits, base models in {where}.\n{body}\n"
        "Hours are those of one device, from the costs that the configuration declares for each family."
    )


def print_plan(study_arguments: dict, log: str) -> None:
    """Print the plan of `Study(**study_arguments)` and write it to `log`."""
    from holdfast.artifacts import write_text

    plan = text(Study(**study_arguments))
    print(plan)
    write_text(log, plan + "\n")
