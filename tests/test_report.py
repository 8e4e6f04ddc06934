"""Figures, sentences and the page: what they say follows the tables, and what they show is safe to open."""

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
from holdfast.report import answer, headline, page, pictures, plots, svg, words
from tests import synthetic, test_study
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
    assert "<script" not in html.lower()


def test_prompts_are_data(html):
    assert "&lt;script&gt;document.title=&#34;owned&#34;&lt;/script&gt; &amp; &#34;rose&#34; $x_1$" in html
    assert "unbreakable" * 30 in html


def test_the_page_names_no_machine(html, root):
    assert str(root) not in html
    assert "/tmp" not in html


def test_the_page_shows_the_tables_numbers(html, root):
    cells = pd.read_csv(root / "results/tables/persistence.csv")
    for _, row in plots.last_step(cells).iterrows():
        if row["measure"] in ("efficacy", "generality"):
            assert f"<dd>{words.percent(row['persistence'])}</dd>" in html
            assert words.between(row["ci_low"], row["ci_high"]) in html
    assert "snakemake --cores all results/figures/persistence.svg" in html


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1.1, 1.4, "strengthened"),
        (0.8, 1.1, "held"),
        (0.5, 1.1, "undecided"),
        (0.02, 1.5, "undecided"),
        (0.2, 0.9, "weakened"),
        (-0.1, 0.4, "gone"),
        (-0.05, 0.95, "undecided"),
        (-0.1, 1.2, "undecided"),
        (-0.4, -0.1, "undecided"),
        (np.nan, np.nan, "undecided"),
    ],
)
def test_a_verdict_is_what_its_interval_allows(low, high, expected):
    assert answer.verdict(0.6, low, high) == expected
    assert answer.verdict(np.nan, low, high) == "none"


def test_without_intervals_the_report_calls_every_cell_undecided(root, tmp_path):
    cells, edits, rates = (read(root, name) for name in ("persistence.csv", "edits.csv", "rates.csv"))
    cells[["ci_low", "ci_high"]] = np.nan
    rates[["ci_low", "ci_high"]] = np.nan
    found = answer.cells(cells)
    assert answer.lede(found).count("are undecided: ") == len(found) == 2
    assert answer.table(found, 0.95).count("undecided") == 2
    for name in ("persistence", "steps"):
        getattr(plots, name)(cells, edits, tmp_path / f"{name}.svg", tmp_path / f"{name}.png")
    plots.specificity(rates, tmp_path / "specificity.svg", tmp_path / "specificity.png")
    html = page.render(
        config=synthetic_config(),
        persistence=cells,
        edits=edits,
        rates=rates,
        costs=read(root, "costs.csv"),
        pictures=tables.read_parquet(root / "results/tables/pictures-mini-sd.parquet"),
        figures={name: (tmp_path / f"{name}.svg").read_text() for name in ("persistence", "steps", "specificity")},
        environment={},
    )
    assert html.count('<span class="badge">undecided</span>') == 2
    assert "interval – undecided" in html
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


JOBS = {
    "aggregate_scores": ("jobs.aggregate", "run"),
    "plot_persistence": ("jobs.plot", "persistence"),
    "plot_outcomes": ("jobs.plot", "outcomes"),
    "plot_grids": ("jobs.plot", "grids"),
    "write_report": ("jobs.report", "run"),
}


@pytest.mark.parametrize("rule", JOBS)
def test_every_module_that_a_table_or_figure_is_made_with_is_in_its_rules_digest(rule):
    """From the imports of the job's own function on; a function borrowed from another job imports nothing itself."""
    rules = "".join((ROOT / f"workflow/rules/{name}.smk").read_text() for name in ("aggregate", "report"))
    digest = re.search(rf"^rule {rule}:.*?code_digest\((.*?)\n    script:", rules, re.DOTALL | re.MULTILINE)
    module, function = JOBS[rule]
    found, queue = {module}, list(test_study._imports(module, function))
    while queue:
        name = queue.pop()
        if name not in found | test_study.PLUMBING:
            found.add(name)
            queue += [] if name.startswith("jobs.") else test_study._imports(name)
    assert found == set(re.findall(r'"([\w.]+)"', digest[1]))


def test_the_answer_follows_the_numbers(root):
    """The same table with other numbers gives another answer."""
    cells = read(root, "persistence.csv")
    before = answer.lede(answer.cells(cells))
    changed = cells.copy()
    chosen = (changed["task"] == "role") & (changed["measure"] == "efficacy")
    changed.loc[chosen, ["persistence", "ci_low", "ci_high"]] = [0.031, -0.02, 0.09]
    disputed = answer.lede(answer.cells(changed))
    assert (
        "Role edits are undecided: 3\N{NARROW NO-BREAK SPACE}%" in disputed and "the classifier still sees" in disputed
    )
    chosen = (changed["task"] == "role") & changed["measure"].isin(["efficacy", "classified_efficacy"])
    changed.loc[chosen, ["persistence", "ci_low", "ci_high"]] = [0.031, -0.02, 0.09]
    after = answer.lede(answer.cells(changed))
    assert "Role edits are gone: 3\N{NARROW NO-BREAK SPACE}% of their effect is left" in after
    assert before.split("Role edits")[0] == after.split("Role edits")[0]
    assert "no cell" in answer.lede([])


def read(root, name):
    return tables.read_csv(root / "results/tables" / name)


def test_figures_are_equal_bytes_and_not_blank(root, tmp_path):
    rates = read(root, "rates.csv")
    plots.outcomes(rates, tmp_path / "a.svg", tmp_path / "a.png")
    assert (tmp_path / "a.svg").read_bytes() == (root / "results/figures/outcomes.svg").read_bytes()
    assert (tmp_path / "a.png").read_bytes() == (root / "results/figures/outcomes.png").read_bytes()
    pixels = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).reshape(-1, 3)
    for colour in ((0x00, 0x72, 0xB2), (0xE6, 0x9F, 0x00), (0xA9, 0xAF, 0xB8)):
        assert (pixels == colour).all(axis=1).mean() > 0.01


def test_a_study_without_tunings_still_has_figures(root, tmp_path):
    cells, edits, rates = (read(root, name) for name in ("persistence.csv", "edits.csv", "rates.csv"))
    plots.persistence(cells[:0], edits[:0], tmp_path / "a.svg", tmp_path / "a.png")
    plots.steps(cells[:0], edits[:0], tmp_path / "b.svg", tmp_path / "b.png")
    assert "no cell" in (tmp_path / "a.svg").read_text()
    plots.specificity(rates[rates["role"] != "specificity"], tmp_path / "d.svg", tmp_path / "d.png")
    assert "no edit" in (tmp_path / "d.svg").read_text().lower()
    plots.outcomes(rates[rates["arm"].isin(["base", "edited"])], tmp_path / "c.svg", tmp_path / "c.png")
    assert "tuned" not in (tmp_path / "c.svg").read_text()


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
    assert "fill: currentColor" in markup
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
    rows = [["rose", step, probe.id, seed] for step in (5, 9) for probe in probes for seed in (0, pictures.SHOWN)]
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


def test_a_page_with_too_many_pictures_leaves_edits_of_every_task_out(root, monkeypatch):
    table = tables.read_parquet(root / "results/tables/pictures-mini-sd.parquet")
    monkeypatch.setattr(page, "PICTURE_BUDGET", int(table["webp"].map(len).sum() / 2))
    groups, left_out = page._pictures(table)
    shown = [len(group["edits"]) for group in groups]
    assert sum(shown) + left_out == 12
    assert len(shown) == 2
    assert all(2 <= number <= 4 for number in shown)


def test_the_headline_is_the_table_of_the_answer(root):
    text = headline.text(root)
    assert re.search(r"mini-sd  role +uce, then 300 steps of lora on mascot +\d+.%", text)
    assert "reports/study.html" in text
    with pytest.raises(HoldfastError, match="hasn't finished"):
        headline.text(root / "nowhere")
