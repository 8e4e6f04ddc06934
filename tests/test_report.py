"""Figures, sentences and the page: what they say follows the tables, and what they show is safe to open."""

import base64
import hashlib
import io
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from holdfast import artifacts, config, sampling
from holdfast.analysis import tables
from holdfast.edits import Edit, Probe
from holdfast.errors import HoldfastError
from holdfast.report import (
    TABLES,
    answer,
    arrange,
    gallery,
    headline,
    page,
    pictures,
    plots,
    state_plots,
    svg,
    words,
)
from tests import synthetic
from tests.workspace import ROOT


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with the synthetic study and its report, the prompts hostile."""
    folder = tmp_path_factory.mktemp("report")
    synthetic.write_page(folder, hostile=True)
    return folder


@pytest.fixture(scope="module")
def html(root):
    return (root / "reports/study.html").read_text(encoding="utf-8")


class Attributes(HTMLParser):
    """Collects (name, value) of every attribute."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found += attrs


def test_the_page_loads_nothing_and_stays_small(html):
    assert len(html.encode()) < 15_000_000
    assert "default-src 'none'" in html
    parser = Attributes()
    parser.feed(html)
    loaded = [value for key, value in parser.found if key in ("src", "href", "xlink:href", "srcset", "action")]
    assert len(loaded) > 200
    assert {value.split(":")[0] for value in loaded if not value.startswith("#")} == {"data"}
    assert not [key for key, _ in parser.found if key.startswith("on")]
    assert not re.search(r"url\((?!#)|@import", html)
    (script,) = re.findall("<script[^>]*>(.*?)</script>", html, flags=re.DOTALL | re.IGNORECASE)
    assert script == (ROOT / "holdfast/report/templates/study.js").read_text(encoding="utf-8")
    assert len(script.splitlines()) < 200
    policy = re.search('Content-Security-Policy" content="([^"]*)"', html)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy
    assert policy.count("unsafe") == 1 and "style-src 'unsafe-inline';" in policy
    assert not re.search(r"fetch|XMLHttp|import|eval|Function|innerHTML|http", script)


def test_prompts_are_data(html):
    assert "&lt;script&gt;document.title=&#34;owned&#34;&lt;/script&gt; &amp; &#34;rose&#34; $x_1$" in html
    assert "unbreakable" * 30 in html


def test_the_page_names_no_machine(html, root):
    assert str(root) not in html
    assert "/tmp" not in html


def test_the_page_shows_the_tables_numbers(html, root):
    cells = pd.read_csv(root / "results/tables/persistence.csv")
    for _, row in arrange.last_step(cells).iterrows():
        if row["measure"] in ("efficacy", "classified_efficacy"):
            assert f"<dd>{words.percent(row['persistence'])}</dd>" in html
            assert words.between(row["ci_low"], row["ci_high"]) in html
    for _, row in pd.read_csv(root / "results/tables/before.csv").iterrows():
        shown = f"<b>{words.percent(row['edited'])}</b><small>{words.between(row['edited_low'], row['edited_high'])}"
        assert shown in html
    assert "snakemake --cores all results/figures/persistence-mini-sd.svg" in html


def judged(*verdicts, persistence=0.6):
    """A cell's judges, of whom each found (in general, here)."""
    names = ("persistence", "verdict", "here_verdict")
    return {n: dict(zip(names, (persistence, *found), strict=True)) for n, found in enumerate(verdicts)}


OPEN = ("undecided", "undecided")


@pytest.mark.parametrize(
    ("own", "wider", "expected"),
    [
        ((("held", "held"), ("held", "")), (), "held"),
        ((("held", "held"), ("weakened", "held")), (), "held here"),
        ((("held", "held"), ("undecided", "undecided")), (OPEN, OPEN), "undecided"),
        ((OPEN, OPEN), (("reversed", "reversed"), ("reversed", "reversed")), "reversed"),
        ((("undecided", "weakened"),), (OPEN,), "weakened here"),
        ((OPEN,), (("undecided", "held"),), "held here"),
        ((("undecided", ""),), (), "undecided"),
    ],
)
def test_a_cells_verdict_is_what_all_judges_tests_allow(own, wider, expected):
    found, by_wider = answer.verdict(judged(*own), judged(*wider))
    assert found == expected
    # What the wider prompts show is not told beside the numbers of the edits' own without saying so.
    assert by_wider == (found != "undecided" and own[0] == OPEN)
    assert answer.verdict(judged(*own, persistence=np.nan), judged(*wider)) == ("none", False)
    assert expected in answer.VERDICTS


def test_the_rules_say_how_many_edits_a_verdict_needs():
    told = answer.rules({"confidence": 0.95, "margin": 0.2}, 48)
    assert "at least 14 of them" in told and "31 in this one" in told
    assert 0.8**14 < 0.05 < 0.8**13 and 0.8**31 < 0.05 / 48 < 0.8**30


def test_without_intervals_the_report_calls_every_cell_undecided(root, tmp_path):
    frames = {name: read(root, f"{name}.csv") for name in TABLES}
    for frame in frames.values():
        limits = [name for name in frame if name.endswith(("_low", "_high"))]
        frame[limits] = np.nan
    frames["persistence"][["verdict", "here_verdict"]] = "undecided"
    found = answer.cells(frames["persistence"])
    assert answer.lede(found).count("are undecided: ") == len(found) == 2
    assert answer.table(found, 0.95).count("undecided") == 2
    for name in ("persistence", "steps"):
        getattr(plots, name)(frames["persistence"], frames["edits"], tmp_path / f"{name}.svg", tmp_path / f"{name}.png")
    state_plots.specificity(frames["rates"], tmp_path / "specificity.svg", tmp_path / "specificity.png")
    html = page.render(
        config=synthetic_config(),
        tables=frames,
        pictures=tables.read_parquet(root / "results/tables/pictures-mini-sd.parquet"),
        figures={
            f"{name}-mini-sd": (tmp_path / f"{name}.svg").read_text()
            for name in ("persistence", "steps", "specificity")
        },
        environment={},
    )
    assert html.count('<span class="badge">undecided</span>') == 2
    assert "interval – too few" in html
    assert not re.search(r"\bnan\b", html)


def synthetic_config():
    return config.check(config.read(ROOT / "config.yaml"), ROOT / "workflow/schemas/config.schema.yaml")


def test_settings_name_no_folder_above_the_repository(tmp_path):
    settings = synthetic_config()
    plain = words.relative(settings, tmp_path)
    assert plain == settings
    settings["families"]["mini-sd"]["source"] = str(tmp_path / "models/mini-sd")
    settings["edits"] = str(tmp_path / "edits/miniature.csv")
    assert words.relative(settings, tmp_path) == plain
    assert words.relative({"path": [f"{tmp_path}-other/x"]}, tmp_path) == {"path": [f"{tmp_path}-other/x"]}


def test_the_answer_follows_the_numbers(root):
    """The same table with other numbers gives another answer."""
    cells = read(root, "persistence.csv")
    before = answer.lede(answer.cells(cells))
    changed = cells.copy()
    role = changed["task"] == "role"
    changed.loc[role, ["verdict", "here_verdict"]] = "undecided"
    changed.loc[role & (changed["measure"] == "efficacy"), ["persistence", "ci_low", "ci_high"]] = [0.031, -0.02, 0.09]
    open_still = answer.lede(answer.cells(changed))
    assert "Role edits are undecided: 3\N{NARROW NO-BREAK SPACE}%" in open_still
    assert "the classifier still sees" in open_still
    changed.loc[role & changed["measure"].isin(["efficacy", "classified_efficacy"]), "verdict"] = "reversed"
    after = answer.lede(answer.cells(changed))
    assert "Role edits are reversed: 3\N{NARROW NO-BREAK SPACE}% of their effect is left" in after
    assert before.split("Role edits")[0] == after.split("Role edits")[0]
    assert "no cell" in answer.lede([])


def read(root, name):
    return tables.read_csv(root / "results/tables" / name)


def test_figures_are_equal_bytes_and_not_blank(root, tmp_path):
    rates = read(root, "rates.csv")
    state_plots.outcomes(rates, tmp_path / "a.svg", tmp_path / "a.png")
    assert (tmp_path / "a.svg").read_bytes() == (root / "results/figures/outcomes-mini-sd.svg").read_bytes()
    assert (tmp_path / "a.png").read_bytes() == (root / "results/figures/outcomes-mini-sd.png").read_bytes()
    pixels = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).reshape(-1, 3)
    for colour in ((0x00, 0x72, 0xB2), (0xE6, 0x9F, 0x00), (0xA9, 0xAF, 0xB8)):
        assert (pixels == colour).all(axis=1).mean() > 0.01


def test_a_study_without_tunings_still_has_figures(root, tmp_path):
    cells, edits, rates = (read(root, name) for name in ("persistence.csv", "edits.csv", "rates.csv"))
    plots.persistence(cells[:0], edits[:0], tmp_path / "a.svg", tmp_path / "a.png")
    plots.matrix(cells[:0], ["mini-sd"], tmp_path / "a.svg", tmp_path / "a.png")
    plots.steps(cells[:0], edits[:0], tmp_path / "b.svg", tmp_path / "b.png")
    assert "no cell" in (tmp_path / "a.svg").read_text()
    state_plots.specificity(rates[rates["role"] != "specificity"], tmp_path / "d.svg", tmp_path / "d.png")
    assert "no edit" in (tmp_path / "d.svg").read_text().lower()
    state_plots.outcomes(rates[rates["arm"].isin(["base", "edited"])], tmp_path / "c.svg", tmp_path / "c.png")
    assert "lora" not in (tmp_path / "c.svg").read_text()


def test_numbers_are_told_short_and_to_the_last_digit():
    assert words.span(0.6, 0.413, 0.8) == "41–80"
    assert words.span(0.6, -0.05, 1.21) == "\N{MINUS SIGN}5 to 121"
    assert words.span(0.6, np.nan, np.nan) == "too few"
    assert words.span(np.nan, np.nan, np.nan) == words.MISSING
    assert words.exact(np.float64(1 / 3), np.nan, None, np.int64(7), "uce") == "0.3333333333333333|||7|uce"


def test_the_matrix_figure_shows_intervals(root):
    cells = arrange.last_step(read(root, "persistence.csv"))
    drawn = (root / "results/figures/matrix.svg").read_text(encoding="utf-8")
    for _, row in cells[cells["measure"].isin(["efficacy", "classified_efficacy"])].iterrows():
        assert f">{words.span(row['persistence'], row['ci_low'], row['ci_high'])}<" in drawn


def test_inlined_figures_keep_to_themselves():
    drawing = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="9" height="9">'
        '<script>alert(1)</script><g id="a" clip-path="url(#c)" style="fill: #1d2127"/><use xlink:href="#a"/></svg>'
    )
    markup = svg.inline(drawing, "steps", 'A "title" & more')
    assert "script" not in markup
    assert 'id="steps-a"' in markup
    assert "url(#steps-c)" in markup
    assert 'href="#steps-a"' in markup
    assert "fill: var(--ink, #1d2127)" in markup, "the page's colour, and its own for a download"
    assert "width=" not in markup
    with pytest.raises(HoldfastError, match="is not SVG"):
        svg.inline("<svg", "steps", "")


def test_pictures_are_the_samples_of_the_chosen_probes(tiny_pipe, tmp_path):
    """Decoded from a samples file: the right latents, the last step, the first seeds, and the measured outcome."""
    import torch

    labels = {"noun": "rose"}
    probes = tuple(
        Probe(f"rose-{role[0]}{n}", "rose", "appearance", role, "a rose", "a", "b", labels, labels)
        for role in ("efficacy", "specificity")
        for n in range(2)
    )
    edit = Edit("rose", "appearance", "a rose", "a blue rose", probes)
    rows = [
        ["rose", step, probe.id, seed] for step in (5, 9) for probe in probes for seed in (0, pictures.SHOWN[False])
    ]
    shape = (tiny_pipe.unet.config.in_channels, tiny_pipe.unet.config.sample_size, tiny_pipe.unet.config.sample_size)
    latents = torch.randn((len(rows), *shape), generator=torch.Generator().manual_seed(0)).half()
    artifacts.save(tmp_path / "s.safetensors", {"latents": latents}, {"kind": "samples", "rows": rows})
    state = synthetic.state("uce", "lora", 0)
    keys = {**state, "task": "appearance", "edit": "rose", "role": "efficacy", "prompt": "a rose", "tuning_step": 9}
    scores = pd.DataFrame([{**keys, "probe": "rose-e0", "seed": 0, "measure": "clip_other", "value": 1.0}])
    table = pictures.decode({tmp_path / "s.safetensors": state}, [edit], scores, tiny_pipe)
    assert table["probe"].tolist() == ["rose-e0", "rose-s0"]
    assert table["outcome"].tolist() == ["other", ""]
    for probe, encoded in zip(table["probe"], table["webp"], strict=True):
        index = rows.index(["rose", 9, probe, 0])
        expected = sampling.decode(tiny_pipe, latents[index : index + 1].float(), 1)[0]
        shown = np.asarray(Image.open(io.BytesIO(encoded))).astype(int)
        assert np.abs(shown - expected).max() <= 1  # decoding in another batch size rounds differently


def test_pictures_show_the_first_training_seed_of_every_tuning():
    states = [synthetic.state(), synthetic.state("uce"), *(synthetic.state("uce", "lora", seed) for seed in (1, 0))]
    assert pictures.shown_states(states) == [states[0], states[1], states[3]]


def test_many_states_show_fewer_edits_of_each():
    probes = {role: Probe(role, "x", "role", role, "the x", "the x", "y", {}, {}) for role in pictures.ROLES}
    edits = [Edit(f"e{n}", "role", "the x", "y", (probes["efficacy"],)) for n in range(9)]
    edits = [Edit(e.id, e.task, e.source, e.target, (Probe(**vars(e.probes[0]) | {"id": e.id}),)) for e in edits]
    assert len(pictures.choose(edits)) == 8
    assert len(pictures.choose(edits, many=True)) == 3


def test_a_page_with_too_many_pictures_leaves_edits_of_every_task_out(root):
    table = tables.read_parquet(root / "results/tables/pictures-mini-sd.parquet")
    groups, left_out = gallery.arrange_pictures(table, budget=int(table["webp"].map(len).sum() / 2))
    shown = [len(group["edits"]) for group in groups]
    assert sum(shown) + left_out == 12
    assert len(shown) == 2
    assert all(2 <= number <= 4 for number in shown)


def test_pictures_stand_where_their_state_does(root):
    """Each picture of the page's grids is the one that the table has for that editor, tuning, probe and seed."""
    table = tables.read_parquet(root / "results/tables/pictures-mini-sd.parquet")
    groups, _ = gallery.arrange_pictures(table, budget=10**9)
    edit = groups[0]["edits"][0]
    assert edit["columns"] == ["no edit", "uce"]
    probe = next(probe for probe in edit["probes"] if probe["role"] == "efficacy")
    assert [row["label"] for row in probe["rows"]] == ["before tuning", "lora on mascot"]
    arms = (("base", "edited"), ("tuned", "edited_tuned"))
    for row, names in zip(probe["rows"], arms, strict=True):
        for cell, arm in zip(row["cells"], names, strict=True):
            mine = table[(table["edit"] == edit["id"]) & (table["arm"] == arm) & (table["role"] == "efficacy")]
            assert [picture["outcome"] for picture in cell] == mine.sort_values("seed")["outcome"].tolist()


def test_the_headline_is_the_table_of_the_answer(root):
    text = headline.text(root)
    assert re.search(r"mini-sd  role +uce, then 300 steps of lora on mascot +\d+.%", text)
    assert "left by CLIP" in text
    assert "by the classifier" in text
    assert "reports/study.html" in text
    with pytest.raises(HoldfastError, match="hasn't finished"):
        headline.text(root / "nowhere")


def test_the_tables_of_the_findings_are_the_studys(root):
    from benchmarks import findings

    told = "\n".join(findings.section(root))
    claims = read(root, "claims.csv")
    tested = claims[claims["verdict"] != "not tested"]
    assert len(tested) >= 2
    for row in tested.to_dict("records"):
        line = next(
            line for line in told.splitlines() if line.startswith(f"| {row['claim']} |") and row["judge"] in line
        )
        assert words.percent(row["value"]) in line and f"**{row['verdict']}**" in line
    assert "### Where edits are lost" in told and "2 cells, " in told
