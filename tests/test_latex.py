"""The tables for a paper: whole LaTeX whatever the names are, and the numbers of the tables that they are made of."""

import re
import shutil
import subprocess

import pandas as pd
import pytest

from holdfast.jobs import latex as job
from holdfast.report import latex, tex
from tests import synthetic
from tests.workspace import ROOT

STATISTICS = {"draws": 100, "confidence": 0.95, "seed": 0, "margin": 0.2}
HOSTILE = "\\input{x} $a_b^c$ 50% & #1 ~ {y} [z]* <i>|\"'' `` -- \n\n\\\\"
# Each special character and what may print it: nothing else may stand in the text that a name became.
COMMANDS = (
    r"\\(?:textbackslash|textasciitilde|textasciicircum|textless|textgreater|textbar|textasciigrave)\{\}|\\symbol\{34\}"
)
PLAIN = r"[A-Za-z0-9 .:/+=()!?@;,'-]"
SAFE = rf"(?:{COMMANDS}|\\[{{}}$&#%_]|[-',]\{{\}}|\{{[\[\]*]\}}|{PLAIN})*"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The tables of the made-up matrix."""
    folder = tmp_path_factory.mktemp("latex")
    synthetic.aggregate(folder, STATISTICS, whole=True)
    return folder


def write(root, name, folder, hostile=False, rows=None):
    """One file as the job writes it; hostile: with a tuner, a corpus, an editor and the study called HOSTILE."""
    source = root / f"results/tables/{name}.csv"
    table = pd.read_csv(source, keep_default_na=False, dtype=str).head(rows)
    if hostile:
        table = table.replace({"lora": HOSTILE, "mascot": f"[{HOSTILE}", "uce": f"*{HOSTILE}", "mini-sd": "mini_sd"})
    table.to_csv(folder / f"{name}.csv", index=False)
    job.run(
        name=name,
        table=folder / f"{name}.csv",
        families=["mini_sd" if hostile else "mini-sd", "mini-flux"],
        study=HOSTILE if hostile else "made up",
        statistics=STATISTICS | {"draws": 10000},
        output=folder / f"{name}.tex",
        log=None,
    )
    return (folder / f"{name}.tex").read_text(encoding="utf-8")


def check(text):
    """Assert that LaTeX would take it: braces, environments, cells in each row. Returns the tables' row counts."""
    lines = text.splitlines()
    assert all(line.startswith("%") or not re.search(r"(?<!\\)%", line) for line in lines)
    text = "\n".join(line for line in lines if not line.startswith("%"))
    bare = re.sub(r"\\[{}$&#%_]", "", text)
    depth, open_at = 0, []
    for match in re.finditer(r"\\(begin|end)\{(\w+)\}|[{}]", bare):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        assert depth >= 0
        if match[1] == "begin":
            open_at.append(match[2])
        elif match[1] == "end":
            assert open_at.pop() == match[2]
    assert depth == 0 and not open_at
    assert bare.count(r"\begingroup") == bare.count(r"\endgroup")
    # The only mathematics are single signs.
    assert "$" not in re.sub(r"\$(-|\\times)\$", "", bare)
    assert not re.search(r"[~^_#]", re.sub(r"\\label\{[^}]*\}", "", bare))
    counts = []
    for kind, align, body in re.findall(r"\\begin\{(tabular|longtable)\}\{(\w+)\}\n(.*?)\\end\{\1\}", bare, re.DOTALL):
        rows = [line for line in body.splitlines() if line.endswith(r" \\") and "label{" not in line]
        rows = [line for line in rows if not line.startswith(r"\caption")]
        for row in rows:
            cells = row.count("&") + 1
            spans = [int(number) for number in re.findall(r"\\multicolumn\{(\d+)\}", row)]
            assert cells + sum(spans) - len(spans) == len(align), row
            assert not re.match(r"\s*(\[|\*)", row)
        heads = 2 if kind == "longtable" else 1
        assert [body.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [heads, heads, 1]
        counts.append((kind, len(rows) - heads))
    return counts


def test_every_special_character_is_escaped():
    for character in '\\{}$&#%_~^<>|"`[]*':
        escaped = tex.escape(f"a{character}b")
        assert re.fullmatch(SAFE, escaped), escaped
        assert escaped not in (f"a{character}b", "ab")
    assert re.fullmatch(SAFE, tex.escape(HOSTILE))
    assert "\n" not in tex.escape("a\n\nb\r\x00c\u2028d")
    assert tex.escape("--- '' ,,") == "-{}-{}- '{}' ,{},"
    assert tex.escape("a_b & 50 % – “c”") == r"a\_b \& 50 \% -- ``c''"
    # What an escaped text prints is the text: every replacement stands for its character alone.
    assert len(set(tex.SPECIAL.values())) == len(tex.SPECIAL)


def test_numbers_stand_with_their_intervals():
    nan = float("nan")
    assert tex.share(0.72, 0.41, 0.8) == r"72\,\% [41, 80]"
    assert tex.share(-0.001, -0.25, 1.1) == r"0\,\% [$-$25, 110]"
    assert tex.share(0.72, nan, nan) == r"72\,\%"
    assert tex.share(nan, 0.1, 0.2) == tex.share(nan) == tex.count(nan) == tex.chance(nan) == "--"
    assert tex.points(-0.12, -0.2, -0.03) == "$-$12 [$-$20, $-$3]"
    assert (tex.count(24.0), tex.chance(0.0123), tex.chance(1e-9)) == ("24", ".012", r"\textless{}\,.001")
    assert tex.label("before", "a b{}\\") == "tab:before-a.b."


@pytest.mark.parametrize("hostile", [False, True])
@pytest.mark.parametrize("name", latex.BY_NAME)
def test_a_file_is_whole_whatever_the_names(root, tmp_path, name, hostile):
    text = write(root, name, tmp_path, hostile)
    counts = check(text)
    assert sum(rows for _, rows in counts) == len(latex.BY_NAME[name].rows(frame(tmp_path, name))) > 20
    assert all((kind == "longtable") == (rows > tex.LONG) for kind, rows in counts)
    assert "\\input" not in text
    # Of claims only the study's name is anybody's own.
    assert (text.count(tex.escape(HOSTILE)) > {"claims": 0, "sites": 4}.get(name, 10)) == hostile


def frame(folder, name):
    from holdfast.analysis.tables import read_csv

    return read_csv(folder / f"{name}.csv")


def test_captions_say_n_interval_test_and_command(root, tmp_path):
    for name in latex.BY_NAME:
        for caption in re.findall(r"\\caption\[\{?[^\n]+", write(root, name, tmp_path)):
            if "(continued)" in caption:
                continue
            assert r"95\,\% intervals by 10,000 draws" in caption
            assert "edits" in caption and re.search("[Tt]est", caption)
            assert rf"\texttt{{snakemake -{{}}-cores all results/latex/{name}.tex}}" in caption


def test_a_table_holds_the_numbers_of_its_file(root, tmp_path):
    text = write(root, "persistence", tmp_path)
    table = frame(tmp_path, "persistence")
    names = {"family": "mini-flux", "editor": "uce", "task": "role", "tuner": "dora", "corpus": "reverting"}
    table = table[(table[list(names)] == pd.Series(names)).all(axis=1) & (table["tuning_step"] == 300)]
    own = table.set_index("measure")

    def told(measure):
        numbers = [own.loc[measure, key] * 100 for key in ("persistence", "ci_low", "ci_high")]
        value, low, high = (f"{number:.0f}".replace("-", "$-$") for number in numbers)
        return rf"{value}\,\% [{low}, {high}]"

    part = text[text.index(r"\label{tab:persistence-mini-flux}") :]
    for prompts, measure in (("own", "efficacy"), ("wider", "generality")):
        edits, pictures = (int(own.loc[measure, name]) for name in ("n_edits", "n_images"))
        numbers = f"{edits} & {pictures} & {told(measure)} & {told(f'classified_{measure}')} & "
        assert part.count(f"uce & role & dora on reverting & 300 & {prompts} & {numbers}") == 1


def test_claims_show_what_is_left_and_differences_as_points(root, tmp_path):
    text = write(root, "claims", tmp_path)
    table = frame(tmp_path, "claims")
    for claim, unit in (("edits_fail", r"\,\%"), ("uce_robust", "")):
        row = table[(table["claim"] == claim) & (table["judge"] == "CLIP")].iloc[0]
        numbers = [f"{100 * row[key]:.0f}".replace("-", "$-$") for key in ("value", "ci_low", "ci_high")]
        shown = f"{int(row['n_cells'])} & {int(row['n_edits'])} & {numbers[0]}{unit} [{numbers[1]}, {numbers[2]}] & "
        assert shown in text and text.count(row["verdict"]) > 0


def test_a_table_is_split_only_where_it_is_large(root, tmp_path):
    assert [kind for kind, _ in check(write(root, "comparisons", tmp_path))] == ["tabular"]
    text = write(root, "before", tmp_path)
    assert re.findall(r"\\label\{(.*?)\}", text) == ["tab:before-mini-sd", "tab:before-mini-flux"]
    head = re.search(r"\\toprule\n(.*)", text)[1]
    assert "editor & task" in head and "family" not in head
    few = write(root, "before", tmp_path, rows=9)
    assert check(few) == [("tabular", 9)] and "family & editor" in few and r"\label{tab:before}" in few
    assert check(write(root, "before", tmp_path, rows=0)) == [("tabular", 1)]
    assert tex.EMPTY in (tmp_path / "before.tex").read_text()


def test_the_page_inputs_every_table():
    page = (ROOT / "docs/reading-results.md").read_text(encoding="utf-8")
    assert re.findall(r"\\input\{results/latex/(\w+)\}", page) == [*latex.BY_NAME]


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="there is no pdflatex on this machine")
def test_the_pages_document_compiles(root, tmp_path):
    page = (ROOT / "docs/reading-results.md").read_text(encoding="utf-8")
    (document,) = re.findall(r"^```latex\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "results/latex").mkdir(parents=True)
    for name in latex.BY_NAME:
        (tmp_path / f"results/latex/{name}.tex").write_text(write(root, name, tmp_path, hostile=True))
    (tmp_path / "paper.tex").write_text(document)
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout[-3000:]
