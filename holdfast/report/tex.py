"""LaTeX of the study's tables: escaped text, numbers with intervals, booktabs tables, longtables where they are long.

Uses booktabs and longtable alone. Every text is data and is escaped; the only commands are those written here.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from holdfast.report import words

LONG = 40  # rows; a table of more would run off its page
EMPTY = "the study has no such row"
SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\symbol{34}",
    "`": r"\textasciigrave{}",
    # After \\ these two would be its argument and its star.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "\N{NO-BREAK SPACE}": "~",
    "\N{NARROW NO-BREAK SPACE}": r"\,",
    "\N{MINUS SIGN}": "$-$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\N{EN DASH}": "--",
    "\N{LEFT DOUBLE QUOTATION MARK}": "``",
    "\N{RIGHT DOUBLE QUOTATION MARK}": "''",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    # Doubled, they would become a dash, or a quotation mark.
    "-": "-{}",
    "'": "'{}",
    ",": ",{}",
}
_SPECIAL = re.compile(r"([-',])(?=\1)|[" + re.escape("".join(key for key in SPECIAL if key not in "-',")) + "]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def escape(text):
    """Plain text as LaTeX that prints it, in one line."""
    return _SPECIAL.sub(lambda match: SPECIAL[match[0]], _CONTROL.sub(" ", str(text)))


def share(value, low=math.nan, high=math.nan):
    """A fraction with its interval: '72\\,\\% [41, 80]'; the value alone without one, a dash where there is neither."""
    told = escape(words.percent(value))
    if math.isnan(value) or math.isnan(low) or math.isnan(high):
        return told
    return f"{told} [{', '.join(escape(words.number(100 * limit, 0)) for limit in (low, high))}]"


def points(value, low, high):
    """A difference of fractions with its interval, in percentage points: '-12 [-20, -3]' with minus signs."""
    return share(value, low, high).replace(r"\,\%", "")


def count(value):
    """A whole number; a dash where there is none."""
    return escape(words.number(value, 0))


def chance(p):
    """A p-value: '.032'."""
    return escape(words.chance(p))


@dataclass(frozen=True)
class Column:
    """A column: its head as plain text, the row's keys whose values `form` turns into LaTeX, and how it is aligned."""

    head: str
    keys: tuple[str, ...]
    form: Callable[..., str] = escape
    align: str = "l"

    def of(self, row):
        """The LaTeX of this column's cell in a row (dict)."""
        return self.form(*(row[key] for key in self.keys))


def table(rows, columns, *, title, caption, label, apart):
    """One table with its caption above it, as LaTeX; a longtable if it has more than LONG rows.

    rows: dicts. columns: Column. title: of the list of tables, plain text. caption: LaTeX. apart: keys; a little space
    stands between rows that differ in one of them.
    """
    align, head = "".join(column.align for column in columns), _line([escape(column.head) for column in columns])
    body = []
    for before, row in pairwise([None, *rows]):
        if before and any(before[key] != row[key] for key in apart):
            body.append(r"\addlinespace")
        body.append(_line([column.of(row) for column in columns]))
    body = body or [rf"\multicolumn{{{len(columns)}}}{{c}}{{{EMPTY}}} \\"]
    told = rf"\caption[{{{escape(title)}}}]{{{caption}}}"
    if len(rows) > LONG:
        return _long(align, head, body, told, label)
    return "\n".join(
        [
            r"\begin{table}[tbp]",
            r"\centering\footnotesize",
            *(told, rf"\label{{{label}}}"),
            rf"\begin{{tabular}}{{{align}}}",
            *(r"\toprule", head, r"\midrule", *body, r"\bottomrule"),
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def _long(align, head, body, told, label):
    return "\n".join(
        [
            r"\begingroup\footnotesize",
            rf"\begin{{longtable}}{{{align}}}",
            *(told, rf"\label{{{label}}} \\"),
            *(r"\toprule", head, r"\midrule", r"\endfirsthead"),
            *(r"\caption[]{(continued)} \\", r"\toprule", head, r"\midrule", r"\endhead"),
            *(r"\bottomrule", r"\endfoot"),
            *body,
            r"\end{longtable}",
            r"\endgroup",
        ]
    )


def _line(cells):
    return " & ".join(cells) + r" \\"


def label(*parts):
    """A label that \\ref takes: 'tab:persistence-mini-sd'."""
    return "tab:" + "-".join(re.sub(r"[^A-Za-z0-9_.-]+", ".", part) for part in parts)
