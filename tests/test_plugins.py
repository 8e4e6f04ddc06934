"""Methods from files: the very files of docs/adding-*.md, alone and through the smoke study."""

import re

import pytest
import yaml

from holdfast import artifacts, plugins
from holdfast.analysis import tables
from holdfast.errors import HoldfastError
from tests.workspace import ROOT, Workspace

PAGES = {"pull": "adding-an-editor", "bitfit": "adding-a-tuner", "ink": "adding-a-scorer"}


def example(name):
    """The code of a page, as its reader would save it."""
    text = (ROOT / f"docs/{PAGES[name]}.md").read_text()
    return re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]


def test_a_method_is_the_registrys_or_a_files(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(
        "import dataclasses\n\n@dataclasses.dataclass\nclass A:\n    x: int\n\nVERSION = 3\ndef edit(): return A(1)\n"
    )
    assert plugins.resolve({"uce": len}, "uce", "edit") is len
    edit = plugins.resolve({}, str(file), "edit")
    assert edit().x == 1
    assert plugins.resolve({}, str(file), "edit") is edit, "run once"
    assert __import__(edit.__module__).VERSION == 3
    digest = plugins.digest(str(file))
    file.write_text(f"# a comment\n{file.read_text()}")
    assert plugins.digest(str(file)) == digest
    file.write_text(file.read_text().replace("A(1)", "A(2)"))
    assert plugins.digest(str(file)) != digest
    assert plugins.resolve({}, str(file), "edit")().x == 2


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (None, "there is no such readable file"),
        ("def edit(:", "this is no valid Python"),
        ("VERSION = 1", "defines no 'edit'"),
        ("def edit(): pass", "defines no 'VERSION'"),
        ("import no_such_module", "running this file failed .ModuleNotFoundError: No module named 'no_such_module'"),
    ],
)
def test_a_file_that_is_no_method_gets_a_sentence(tmp_path, source, sentence):
    file = tmp_path / "own.py"
    if source is not None:
        file.write_text(source)
    with pytest.raises(HoldfastError, match=sentence):
        plugins.resolve({}, str(file), "edit")
    with pytest.raises(HoldfastError, match="no method 'ucee': take one of uce"):
        plugins.resolve({"uce": len}, "ucee", "edit")


@pytest.mark.timeout(900)
def test_the_smoke_study_runs_with_an_editor_a_tuner_and_a_scorer_from_files(tmp_path, models):
    workspace = Workspace(tmp_path, models=models)
    for name in PAGES:
        workspace.write(f"my/{name}.py", example(name))
    path = workspace.folder / "studies/smoke.yaml"
    study = yaml.safe_load(path.read_text())
    study["editors"] = {"pull": {"method": "my/pull.py", "strength": 0.9, "tasks": ["appearance"]}}
    study["tuners"] = {"bitfit": {"method": "my/bitfit.py", "steps": 3, "batch_size": 2, "learning_rate": 0.01}}
    study["tunings"] = [{"tuner": "bitfit", "corpus": "mascot"}]
    study["scorers"]["ink"] = {"kind": "my/ink.py", "limit": 0.4}
    study["families"]["mini-sd"]["scorers"].append("ink")
    study["seeds"] = 1
    path.write_text(yaml.safe_dump(study))
    target = "results/tables/scores.parquet"
    workspace.snakemake("--", target)

    scores = tables.read_parquet(workspace.folder / target)
    ink = scores[scores.measure == "ink"].set_index(["arm", "probe"]).value
    assert {arm for arm, _ in ink.index} == {"base", "edited", "tuned", "edited_tuned"}
    assert ink.between(0, 1).all()
    # Each method did something: the pictures of no two arms are equally dark.
    means = ink.groupby("arm").mean()
    assert means.nunique() == len(means)
    header = artifacts.read_header(
        workspace.folder / "results/states/mini-sd/pull.0/bitfit.mascot.s0/delta.safetensors"
    )
    assert (header["method"], header["method_version"], header["variants"]) == ("my/bitfit.py", 1, ["rose-blue"])

    # A comment changes nothing, another limit scores again, another editor makes what follows from it again.
    assert workspace.rules("--", target) == {}
    workspace.write("my/ink.py", "# a comment\n" + example("ink"))
    assert workspace.rules("--", target) == {}
    workspace.write("my/ink.py", example("ink").replace("255 *", "250 *"))
    assert workspace.rules("--", target).get("score_images") == 4
    assert "sample_images" not in workspace.rules("--", target)
    workspace.write("my/ink.py", example("ink"))
    workspace.write("my/pull.py", example("pull").replace("strength *", "2 * strength *"))
    counts = workspace.rules("--", target)
    assert {rule: counts.get(rule) for rule in ("edit_model", "tune_model", "sample_images")} == {
        "edit_model": 1, "tune_model": 1, "sample_images": 2,
    }  # fmt: skip
