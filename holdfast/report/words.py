"""How the report says things: names of arms and measures, shares as per cent. No figure or page invents its own."""

import math

ARMS = {
    "base": "base",
    "edited": "edited",
    "tuned": "tuned only",
    "edited_tuned": "edited, then tuned",
    "tuned_edited": "tuned, then edited",
    "edited_tuned_edited": "re-edited",
    "edited_carried": "adapter carried over",
    "edited_projected": "tuned off the edit",
    "edited_tuned_grafted": "edit put back",
}
TASKS = {
    "appearance": "Appearance edits",
    "role": "Role edits",
    "debias": "Debiasing edits",
    "unsafe": "Unsafe-content edits",
}
MEASURES = {
    "efficacy": "efficacy",
    "generality": "generality",
    "specificity": "specificity",
    "f1": "F1",
    "debias": "bias",
    "unsafe": "unsafe rate, named",
    "implied_unsafe": "unsafe rate, implied",
}
# How a measure's name says whose judgement it is; without a prefix it is the first judge's.
PREFIXES = {"classified_": "classifier", "clip_": "CLIP", "nudenet_": "NudeNet", "q16_": "Q16"}
# What a task's outcomes mean, where target and source don't say it themselves.
OUTCOMES = {
    "debias": {"target": "with the attribute", "source": "without it"},
    "unsafe": {"target": "harmless", "source": "unsafe"},
}
MISSING = "–"


def percent(share, digits=0):
    """0.623 -> '62 %', with a narrow no-break space; an en dash where there is no number."""
    return MISSING if share is None or math.isnan(share) else f"{_round(100 * share, digits)}\N{NARROW NO-BREAK SPACE}%"


def between(low, high):
    """An interval: '41 to 80 %'."""
    if math.isnan(low) or math.isnan(high):
        return MISSING
    return f"{_round(100 * low, 0)} to {_round(100 * high, 0)}\N{NARROW NO-BREAK SPACE}%"


def span(value, low, high):
    """As `interval`, where there is little room: '41–80'; with a negative end '−5 to 40', lest the dash be a minus."""
    if math.isnan(low) or math.isnan(high):
        return MISSING if math.isnan(value) else "too few"
    low, high = _round(100 * low, 0), _round(100 * high, 0)
    return f"{low} to {high}" if "\N{MINUS SIGN}" in low + high else f"{low}\N{EN DASH}{high}"


def exact(*values):
    """Values for a machine, with a bar between: numbers in full, nothing where there is none."""
    return "|".join(_exact(value) for value in values)


def _exact(value):
    if value is None or value != value:
        return ""
    return repr(float(value)) if isinstance(value, float) else str(value)


def interval(value, low, high):
    """The interval of a value: as `between`, but 'too few' where the value is known and its interval isn't."""
    known = not math.isnan(value) and (math.isnan(low) or math.isnan(high))
    return f"{MISSING} too few" if known else between(low, high)


def relative(settings, root):
    """Settings (dicts, lists and plain values) with every path below the folder `root` as seen from there."""
    if isinstance(settings, dict):
        return {key: relative(value, root) for key, value in settings.items()}
    if isinstance(settings, list | tuple):
        return [relative(value, root) for value in settings]
    return settings.removeprefix(f"{root}/") if isinstance(settings, str) else settings


def _round(value, digits):
    text = f"{value:.{digits}f}"
    text = text.removeprefix("-") if float(text) == 0 else text
    return text.replace("-", "\N{MINUS SIGN}")


def measure(name):
    """A measure as readers see it: 'efficacy', 'efficacy (classifier)', 'unsafe rate, named (CLIP)'."""
    for prefix, judge in PREFIXES.items():
        if name.startswith(prefix) and name.removeprefix(prefix) in MEASURES:
            return f"{MEASURES[name.removeprefix(prefix)]} ({judge})"
    return MEASURES.get(name, name.replace("_", " "))


def task(name):
    """A task as a heading: 'Appearance edits'."""
    return TASKS.get(name, name.replace("_", " ").capitalize())


def ordered(names, order):
    """Names in the order of `order`, then what it doesn't know as it comes, each once."""
    names = dict.fromkeys(names)
    return [name for name in order if name in names] + [name for name in names if name not in order]


def arm(name):
    """An arm as readers see it."""
    return ARMS.get(name, name.replace("_", ", then "))


def tuning(row):
    """A tuning in words, from a table's row: 'lora on mascot', 'lora (text encoder) on mascot'."""
    site = "" if row["site"] in ("", "denoiser") else f" ({row['site'].replace('_', ' ')})"
    return f"{row['tuner']}{site} on {row['corpus']}"


def tuned_arm(row):
    """What was done after the base or the editor's edit, as the label of a row whose column is the editor.

    'before tuning', 'lora on mascot', 'lora on mascot, carried over', 'lora on mascot, then edited' and so on.
    """
    if not row["tuner"]:
        return "before tuning" if row["arm"] in ("base", "edited") else arm(row["arm"])
    plain = ("tuned", "edited_tuned")
    added = {
        "tuned_edited": ", then edited",
        "edited_tuned_edited": ", re-edited",
        "edited_carried": ", carried over",
        "edited_projected": ", off the edit",
        "edited_tuned_grafted": ", edit put back",
    }
    if row["arm"] in plain or row["arm"] in added:
        return tuning(row) + added.get(row["arm"], "")
    # Two states of another arm may differ in what came before the last tuning, so all steps are told.
    steps = row["arm"].removeprefix("edited_")
    told = row.get("steps", "").removeprefix(f"{row['editor']}/") or arm(row["arm"] if "edited" in steps else steps)
    return f"{tuning(row)} ({told})"


def number(value, digits=1):
    """A number that is no share, such as an FID: '12.3', with a minus sign; an en dash where there is none."""
    return MISSING if value is None or math.isnan(value) else _round(value, digits)


def chance(p):
    """A p-value: '.032', '< .001'; an en dash where there is none."""
    if math.isnan(p):
        return MISSING
    return "<\N{NARROW NO-BREAK SPACE}.001" if p < 0.001 else f"{min(p, 1):.3f}".removeprefix("0")


def duration(seconds):
    """Seconds as a person says them: '48 s', '3 min 20 s', '2 h 05 min'."""
    if seconds is None or math.isnan(seconds):
        return MISSING
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def listing(items):
    """'a', 'a and b', 'a, b and c'."""
    items = list(items)
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)
