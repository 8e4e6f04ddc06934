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
}
MEASURES = {
    "efficacy": "efficacy",
    "generality": "generality",
    "specificity": "specificity",
    "classified_efficacy": "efficacy (classifier)",
    "classified_generality": "generality (classifier)",
    "classified_specificity": "specificity (classifier)",
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


def interval(value, low, high):
    """The interval of a value: as `between`, but 'undecided' where the value is known and its interval isn't."""
    known = not math.isnan(value) and (math.isnan(low) or math.isnan(high))
    return f"{MISSING} undecided" if known else between(low, high)


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


def arm(name):
    """An arm as readers see it."""
    return ARMS.get(name, name.replace("_", ", then "))


def tuning(row):
    """A tuning in words, from a table's row: 'lora on mascot', 'lora (text encoder) on mascot'."""
    site = "" if row["site"] in ("", "denoiser") else f" ({row['site'].replace('_', ' ')})"
    return f"{row['tuner']}{site} on {row['corpus']}"


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
