"""Each cell's own place on the page, and the pictures it leads to: the ids that links and targets share."""

from holdfast.report import arrange, words

TUNING = ("tuner", "site", "corpus")


def cell(row):
    """The id of a cell's place; row: a dict with CELL. Names hold no dot, so that no two cells share an id."""
    return "cell-" + ".".join(str(row[name]) for name in ("family", "editor", "task", *TUNING))


def pictures(row):
    """The id of a tuning's row in an edit's grids of pictures; row: a dict with family, task, edit and the tuning."""
    return "pictures-" + ".".join(str(row[name]) for name in ("family", "task", "edit", *TUNING))


def cells(found, shown):
    """Cells by family, each with its links to pictures: {family: [cell | {place, pictures: [{edit, href}]}]}.

    found: cells as `answer.cells` gives them. shown: the pictures as `gallery.arrange_pictures` gives them.
    """
    edits = {(group["family"], group["task"]): group["edits"] for group in shown}
    out = {one["family"]: [] for one in found}
    order = {task: n for n, task in enumerate(arrange.tasks(one["task"] for one in found))}
    for one in sorted(found, key=lambda one: (*arrange.place(one["editor"], arrange.EDITORS), order[one["task"]],
                                              *arrange.tuning_order(one))):  # fmt: skip
        links = [
            {"edit": edit["id"], "href": pictures(one | {"edit": edit["id"]})}
            for edit in edits.get((one["family"], one["task"]), [])
            if one["tuning"] in edit["tuned"]
        ]
        rows = [{"measure": measure, **row} for measure, row in one["rows"].items()]
        out[one["family"]].append(one | {"place": cell(one), "links": links, "measured": rows})
    return out


def tuned(states):
    """Of states (dicts with STATE), those tuned once and no more: {label as `words.tuning` gives it: state}."""
    return {words.tuning(row): row for row in states if row["arm"] in ("tuned", "edited_tuned")}
