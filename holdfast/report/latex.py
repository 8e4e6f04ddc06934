"""The study's tables for a paper: which of them, with which columns, and what their captions say.

To add one, append a Table to TABLES: results/tables/{name}.csv becomes results/latex/{name}.tex.
"""

from collections.abc import Callable
from dataclasses import dataclass

from holdfast.report import latex_claims, tex, words
from holdfast.report.tex import Column


def records(frame):
    """Rows as the file has them."""
    return frame.to_dict("records")


@dataclass(frozen=True)
class Table:
    """One file results/latex/{name}.tex, made of results/tables/{name}.csv.

    caption: plain text with the names of `facts` in braces: what, n, interval and test; the command is added. rows:
    frame -> dicts with the columns' keys. split: the column whose values get a table each where all rows together
    would be more than `tex.LONG`. apart: keys that set rows a little apart.
    """

    name: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: Callable = records
    split: str = "family"
    apart: tuple[str, ...] = ()


def left(frame):
    """persistence.csv at the last tuning step: of each cell a row for the edits' own prompts, one for wider ones."""
    from holdfast.report import answer

    rows = []
    for cell in in_order(answer.cells(frame)):
        verdict = answer.badge(cell)
        alone = cell["judges"] is cell["wider"]
        for judged in [cell["judges"]] if alone or not cell["wider"] else [cell["judges"], cell["wider"]]:
            prompts = "wider" if judged is cell["wider"] else "own"
            first = cell["rows"][next(iter(judged.values()))["measure"]]
            row = {key: cell[key] for key in ("family", "editor", "task", "tuning", "tuning_step")}
            row |= {"prompts": prompts, "verdict": verdict, "n_edits": first["n_edits"], "n_images": first["n_images"]}
            for judge in answer.JUDGES:
                seen = judged.get(judge, {})
                row |= {f"{judge}_{key}": seen.get(key, float("nan")) for key in ("persistence", "low", "high")}
            rows.append(row)
            verdict = ""
    return rows


def made(frame):
    """before.csv with each measure's `what` and `judge`, in order."""
    from holdfast.report import arrange, sections

    rows = []
    for row in records(frame):
        prefix = next((name for name in words.PREFIXES if row["measure"].startswith(name)), "")
        name = row["measure"].removeprefix(prefix)
        judge = words.PREFIXES[prefix] if prefix else sections.FIRST[name]
        rows.append(row | {"what": words.MEASURES[name], "judge": judge})
    measures, judges = [*words.MEASURES.values()], ["CLIP", "classifier"]
    rows.sort(key=lambda row: (arrange.place(row["what"], measures), arrange.place(row["judge"], judges)))
    return in_order(rows)


def pooled(frame):
    """comparisons.csv: the rows over all cells that differ in one thing, those of one pair of levels together."""
    from holdfast.report import sections

    rows = sections.comparisons(frame)
    pairs = list(dict.fromkeys((row["factor"], row["a"], row["b"]) for row in rows))
    return sorted(rows, key=lambda row: pairs.index((row["factor"], row["a"], row["b"])))


def in_order(rows):
    """Rows by family as they come, then by editor, task and tuning (where they have one) in the report's order."""
    from holdfast.report import arrange

    families, tasks = list(dict.fromkeys(row["family"] for row in rows)), list(words.TASKS)
    return sorted(
        rows,
        key=lambda row: (
            families.index(row["family"]),
            arrange.place(row["editor"], arrange.EDITORS),
            arrange.place(row["task"], tasks),
            *(arrange.tuning_order(row) if "tuner" in row else ()),
        ),
    )


def estimate(head, value, low, high, form=tex.share):
    """A column of values with their intervals."""
    return Column(head, (value, low, high), form, "r")


FAMILY, EDITOR, TASK = (Column(name, (name,)) for name in ("family", "editor", "task"))
EDITS, PICTURES = (
    Column(head, (key,), tex.count, "r") for head, key in (("edits", "n_edits"), ("pictures", "n_images"))
)

TABLES = (
    Table(
        "persistence",
        "Persistence of edits",
        "What is left of the edits’ effect after the tuning, at its last step: (edited and tuned − tuned) / "
        "(edited − base) by CLIP’s choice between two texts and by the classifier (of unsafe content: the "
        "family’s first detector), on the edits’ own prompts and on wider ones (other wordings, or prompts that "
        "only imply it). The pictures are those of the edited and tuned models. {interval}; a dash where there "
        "was no clear effect to lose. Verdicts: tests at the level {level}, for held and reversed with a margin "
        "of {margin}, adjusted by Holm over all cells; they are about other edits of the kind or, with “here”, "
        "about these alone.",
        (
            *(FAMILY, EDITOR, TASK, Column("tuning", ("tuning",)), Column("steps", ("tuning_step",), tex.count, "r")),
            *(Column("prompts", ("prompts",)), EDITS, PICTURES),
            estimate("CLIP", "CLIP_persistence", "CLIP_low", "CLIP_high"),
            estimate("classifier", "classifier_persistence", "classifier_low", "classifier_high"),
            Column("verdict", ("verdict",)),
        ),
        rows=left,
        apart=("family", "editor", "task"),
    ),
    Table(
        "before",
        "Edits before any tuning",
        "What the edits reach before any tuning: every measure in the base and in the edited model, by the same "
        "noise, and the difference in percentage points. Bias and unsafe rates are better where they are lower. "
        "The pictures are those of the edited model. {interval}. No test: an effect is clear where its interval "
        "excludes 0.",
        (
            *(FAMILY, EDITOR, TASK, Column("measure", ("what",)), Column("judge", ("judge",)), EDITS, PICTURES),
            *(estimate(name, name, f"{name}_low", f"{name}_high") for name in ("base", "edited")),
            estimate("difference", "effect", "effect_low", "effect_high", tex.points),
        ),
        rows=made,
        apart=("family", "editor", "task"),
    ),
    Table(
        "comparisons",
        "Differences between tuners, editors, sites and corpora",
        "Mean persistence at two levels (a and b) of what was varied, over all cells that differ in nothing else,"
        " and a minus b in percentage points. Cells: at each level; edits: that both have. In brackets "
        "{confidence} intervals by {draws} draws of a bootstrap over edits, each drawn with all its cells. p: a "
        "paired permutation test that swaps a and b edit by edit, and the same adjusted by Holm over the "
        "comparisons of one thing, judge and kind of prompt.",
        (
            *(Column(name, (key,)) for name, key in (("varied", "factor"), ("a", "a"), ("b", "b"))),
            *(Column("prompts (judge)", ("prompts",)), Column("cells", ("n_cells",), tex.count, "r"), EDITS),
            *(Column(name, (f"persistence_{name}",), tex.share, "r") for name in ("a", "b")),
            estimate("a − b", "difference", "ci_low", "ci_high", tex.points),
            *(Column(head, (key,), tex.chance, "r") for head, key in (("p", "p_permutation"), ("Holm", "p_holm"))),
        ),
        rows=pooled,
        split="factor",
        apart=("factor", "a", "b"),
    ),
    Table(
        "claims",
        "The claims of arXiv 2506.18428 on this study",
        "What the abstract of arXiv 2506.18428 claims, as statements that were tested on this study, per family and "
        "judge, on the edits’ own prompts at the last step of every tuning. Of all edits together: the share of their "
        "effect that is left; of two editors or tuners: the difference in percentage points over cells that are alike "
        "in all else. In brackets {confidence} intervals by {draws} draws of a bootstrap over edits. Holm: the p-value "
        "adjusted over the claims of a family and judge. Supported or contradicted: that side is shown at the level "
        "{level}, a pooled persistence with a margin of {margin}.",
        (
            *(Column("claim", ("told",)), Column("part", ("part",)), FAMILY, Column("judge", ("judge",))),
            *(latex_claims.CELLS, EDITS, latex_claims.VALUE, latex_claims.HOLM, Column("verdict", ("verdict",))),
        ),
        rows=latex_claims.tested,
        apart=("told", "part"),
    ),
    Table(
        "sites",
        "Site by site",
        "Mean persistence by where the editor wrote and where the tuner wrote, over the tunings that every field has, "
        "and three contrasts in percentage points: first editor less second, denoiser tuned less text encoder tuned, "
        "and tuned where the edit was written less tuned elsewhere. In brackets {confidence} intervals by {draws} "
        "draws of a bootstrap over edits. Holm: of a paired permutation test, adjusted over a family’s contrasts.",
        (
            *(FAMILY, Column("judge", ("judge",)), Column("field or contrast", ("what",)), latex_claims.CELLS, EDITS),
            *(latex_claims.VALUE, latex_claims.HOLM),
        ),
        rows=latex_claims.crossed,
        apart=("family", "judge"),
    ),
    Table(
        "doses",
        "Tuners at equal strength",
        "Mean persistence under two tuners (a and b) where both have come equally far: after as many steps, with a "
        "change of the same size, or with as much of the corpus’ loss gone; and a minus b in percentage points. Steps: "
        "where the two stand. In brackets {confidence} intervals by {draws} draws of a bootstrap over edits. Holm: of "
        "a paired permutation test, adjusted over the comparisons of one scale, judge and kind of prompt.",
        (
            *(Column(name, (key,)) for name, key in (("equal in", "scale"), ("a", "a"), ("b", "b"))),
            *(Column("prompts (judge)", ("prompts",)), latex_claims.CELLS, EDITS),
            Column("steps", ("step_a", "step_b"), latex_claims.steps, "r"),
            *(Column(name, (f"persistence_{name}",), tex.share, "r") for name in ("a", "b")),
            estimate("a − b", "difference", "ci_low", "ci_high", tex.points),
            latex_claims.HOLM,
        ),
        rows=latex_claims.matched,
        split="scale",
        apart=("scale", "a", "b"),
    ),
)
BY_NAME = {table.name: table for table in TABLES}


def facts(study, statistics):
    """What captions can name: study, confidence, level, margin and draws; `interval` is the sentence of most tables."""
    confidence, draws = words.percent(statistics["confidence"]), f"{statistics['draws']:,}"
    bootstrap = "a bootstrap over edits (of one unsafe edit over prompts)"
    return {
        "study": study,
        "confidence": confidence,
        "level": words.percent(1 - statistics["confidence"]),
        "margin": words.percent(statistics["margin"]),
        "draws": draws,
        "interval": f"In brackets {confidence} intervals by {draws} draws of {bootstrap}",
    }


def write(table, frame, *, study, statistics):
    """The text of one file: a Table's rows of `frame` (its CSV file's), in one table or one for each value of `split`.

    study: its name. statistics: draws, confidence and margin, for the caption.
    """
    rows = table.rows(frame)
    parts, columns = {"": rows}, table.columns
    if len(rows) > tex.LONG:
        parts = {value: [row for row in rows if row[table.split] == value] for value in _values(rows, table.split)}
        columns = [column for column in columns if column.keys != (table.split,)]
    told = facts(study, statistics)
    made = [
        f"% Made by Holdfast from results/tables/{table.name}.csv; needs \\usepackage{{booktabs,longtable}}.",
        *(_one(table, value, part, columns, told) for value, part in parts.items()),
    ]
    return "\n\n".join(made) + "\n"


def _values(rows, key):
    return list(dict.fromkeys(row[key] for row in rows))


def _one(table, value, rows, columns, told):
    title = table.title + (f" ({value})" if value else "")
    command = f"snakemake --cores all results/latex/{table.name}.tex"
    caption = f"{title}. {table.caption.format(**told)} Study: {told['study']}. Made by "
    return tex.table(
        rows,
        columns,
        title=title,
        caption=f"{tex.escape(caption)}\\texttt{{{tex.escape(command)}}}.",
        label=tex.label(table.name, *([value] if value else [])),
        apart=table.apart,
    )
