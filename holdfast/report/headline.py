"""What the end of `make study` prints: the answer as a table, and where the reports are."""

import sys
from pathlib import Path

HEADLINE, REPORTS = "results/tables/headline.txt", ("reports/study.html", "reports/study.zip")


def text(folder):
    """The headline of the study in `folder`, as text."""
    from holdfast.errors import HoldfastError

    folder = Path(folder)
    try:
        table = (folder / HEADLINE).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise HoldfastError(f"{folder / HEADLINE} is missing: the study hasn't finished; run it first.") from None
    reports = [str(folder / path) for path in REPORTS if (folder / path).exists()]
    return f"\nDo the edits hold fast through fine-tuning?\n\n{table}\nReports: {', '.join(reports)}\n"


def main(arguments):
    """Print the headline; the exit status is 1, with a sentence, where there is none."""
    from holdfast.errors import HoldfastError

    try:
        print(text(arguments[0] if arguments else "."))
    except HoldfastError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
