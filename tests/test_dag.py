"""Partial reruns: what runs again after a change, and what does not.

The graph, the rules, the descriptions of the jobs and Snakemake's records are the real ones; the scripts only write
down what they were told (`Workspace.echo`). `test_smoke.py` does it once more with real jobs.
"""

import json
import os
import subprocess
import sys
import time
import zipfile

import pytest
import yaml

from tests.workspace import Workspace

STUDY = "studies/smoke.yaml"
METHODS = {"edit_model", "tune_model", "sample_images", "score_images"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished study of two shards: every edit in a model, and a job, of its own."""
    workspace = Workspace(tmp_path_factory.mktemp("study")).echo()
    workspace.replace(STUDY, "variants_per_job: 2", "variants_per_job: 1")
    workspace.snakemake()
    return workspace


@pytest.fixture
def changed(finished):
    """The finished study, whose sources may be changed: they are put back afterwards."""
    kept = {
        path: path.read_bytes()
        for top in ("studies", "edits", "holdfast", "workflow", "models")
        for path in (finished.folder / top).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    yield finished
    for path, content in kept.items():
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)


def of_methods(counts):
    """The counts of the rules that compute; the tables and figures made from their results follow from any change."""
    return {rule: count for rule, count in counts.items() if rule in METHODS}


def test_the_first_run_makes_every_state_once(tmp_path):
    workspace = Workspace(tmp_path)
    counts = workspace.rules()
    assert of_methods(counts) == {"edit_model": 1, "tune_model": 2, "sample_images": 4, "score_images": 4}
    assert (counts["download_model"], counts["download_scorer"], counts["draw_corpus"]) == (1, 2, 1)
    assert {output for rule, output in workspace.jobs() if rule in ("edit_model", "tune_model")} == {
        "results/states/mini-sd/uce.0/delta.safetensors",
        "results/states/mini-sd/lora.mascot.s0/delta.safetensors",
        "results/states/mini-sd/uce.0/lora.mascot.s0/delta.safetensors",
    }


def test_a_finished_study_has_nothing_to_do_even_after_a_fresh_checkout(finished):
    assert finished.rules() == {}
    # What git does to a fresh clone's files: the same content, younger than every result.
    later = time.time() + 60
    for top in ("Snakefile", "config.yaml", "holdfast", "workflow", "studies", "edits", "models", "profiles", "envs"):
        for path in [finished.folder / top, *(finished.folder / top).rglob("*")]:
            os.utime(path, (later, later))
    assert finished.rules() == {}


def test_snakemakes_report_has_a_place_and_a_sentence_for_every_result(finished, tmp_path):
    finished.snakemake("--report", str(tmp_path / "study.zip"))
    page = zipfile.ZipFile(tmp_path / "study.zip").read("study/report.html").decode()

    def told(name):
        script = page.index(f'<script id="{name}">')
        start = page.index(f"var {name} = ", script) + len(f"var {name} = ")
        return json.JSONDecoder().raw_decode(page, start)[0]

    results, categories = told("results"), told("categories")
    made = {
        path.relative_to(finished.folder).as_posix()
        for pattern in ("results/tables/*", "results/figures/*.svg", "results/latex/*", "reports/study.html")
        for path in finished.folder.glob(pattern)
        # The pictures stand in the page and in the grid's figure.
        if not path.name.startswith("pictures-")
    }
    assert results.keys() == made
    assert len(made) > 25
    placed = {path: category for category, parts in categories.items() for part in parts.values() for path in part}
    assert {placed[path] for path in made} == {
        "Page", "Tables", "Pictures", "Persistence", "Outcomes", "Causes", "LaTeX",
    }  # fmt: skip
    assert all((placed[path] == "LaTeX") == path.endswith(".tex") for path in made)
    for path, result in results.items():
        assert len(result["caption"]) > 60 and all(result["labels"].values()), path
    labels = [(placed[path], *result["labels"].values()) for path, result in results.items()]
    assert len(set(labels)) == len(labels), "two results can't be told apart"


def test_the_machines_settings_make_nothing_anew(changed):
    changed.replace(STUDY, "batch_size: 16", "batch_size: 4\n    offload: model")
    changed.replace(STUDY, "method: lora,", "method: lora, gradient_checkpointing: true,")
    # The page shows the configuration.
    assert changed.rules() == {"write_report": 1}


def test_a_changed_edit_reruns_its_own_shard(changed):
    changed.replace("edits/smoke.csv", "the king,Bob,efficacy", "the king,Carol,efficacy")
    changed.replace("edits/smoke.csv", "the king,Bob,generality", "the king,Carol,generality")
    changed.replace("edits/smoke.csv", "the king,Bob,specificity", "the king,Carol,specificity")
    changed.replace("edits/smoke.csv", "noun=alice,noun=bob", "noun=alice,noun=carol")
    jobs = changed.jobs()
    # The base and the tuned base drew what they drew; labels and a rival are new, so they are scored again.
    assert {job for job in jobs if job[0] in METHODS} == {
        ("edit_model", "results/states/mini-sd/uce.1/delta.safetensors"),
        ("tune_model", "results/states/mini-sd/uce.1/lora.mascot.s0/delta.safetensors"),
        ("sample_images", "results/samples/mini-sd/uce.1/edits-1.safetensors"),
        ("sample_images", "results/samples/mini-sd/uce.1/lora.mascot.s0/edits-1.safetensors"),
        ("score_images", "results/scores/mini-sd/base/edits-1.parquet"),
        ("score_images", "results/scores/mini-sd/lora.mascot.s0/edits-1.parquet"),
        ("score_images", "results/scores/mini-sd/uce.1/edits-1.parquet"),
        ("score_images", "results/scores/mini-sd/uce.1/lora.mascot.s0/edits-1.parquet"),
    }


def test_an_appended_edit_adds_its_own_jobs_only(changed):
    table = changed.folder / "edits/smoke.csv"
    row = "leaf-red,appearance,a leaf,a red leaf,efficacy,leaf-red-e0,a leaf,a leaf,a red leaf,,\n"
    table.write_text(table.read_text() + row)
    jobs = changed.jobs()
    assert {output for rule, output in jobs if rule == "edit_model"} == {
        "results/states/mini-sd/uce.2/delta.safetensors"
    }
    assert all("edits-2" in output for rule, output in jobs if rule in ("sample_images", "score_images"))


def test_another_number_of_seeds_draws_and_scores_again(changed):
    changed.replace(STUDY, "seeds: 2", "seeds: 3")
    assert of_methods(changed.rules()) == {"sample_images": 8, "score_images": 8}


def test_another_training_seed_adds_its_own_tunings(changed):
    changed.replace(STUDY, "seeds: [0]", "seeds: [0, 1]")
    jobs = {job for job in changed.jobs() if job[0] in METHODS}
    assert len(jobs) == 3 + 4 + 4
    assert all("lora.mascot.s1" in output for _, output in jobs)


def test_a_tuners_setting_reruns_its_tunings_and_what_follows(changed):
    changed.replace(STUDY, "learning_rate: 1.0e-3", "learning_rate: 2.0e-3")
    jobs = changed.jobs()
    assert of_methods(changed.rules()) == {"tune_model": 3, "sample_images": 4, "score_images": 4}
    assert all("lora" in output for rule, output in jobs if rule in METHODS)


@pytest.mark.parametrize(
    ("module", "counts"),
    [
        ("editors/uce.py", {"edit_model": 2, "tune_model": 2, "sample_images": 4, "score_images": 4}),
        ("tuners/lora.py", {"tune_model": 3, "sample_images": 4, "score_images": 4}),
        ("noise.py", {"sample_images": 8, "score_images": 8}),
        ("scorers/clip.py", {"score_images": 8}),
        ("log.py", {}),
    ],
)
def test_a_changed_method_reruns_its_own_rule_and_what_follows(changed, module, counts):
    path = changed.folder / "holdfast" / module
    path.write_text(path.read_text() + "\n# a comment\n")
    assert of_methods(changed.rules()) == {}
    path.write_text(path.read_text() + "\n_CHANGED = True\n")
    assert of_methods(changed.rules()) == counts


def test_a_changed_script_or_comment_reruns_nothing(changed):
    for script in (changed.folder / "workflow/scripts").glob("*.py"):
        script.write_text(script.read_text() + "\n# a comment\n")
    assert changed.rules() == {}


def test_another_model_reruns_everything_made_from_it(changed):
    changed.write("models/mini-sd/manifest.json", '{"revision": "2"}')
    assert of_methods(changed.rules()) == {"edit_model": 2, "tune_model": 3, "sample_images": 8, "score_images": 8}


def test_a_study_runs_in_a_folder_of_its_own(finished, tmp_path):
    """Paths of the configuration are found beside the Snakefile; the results stay in the working directory."""
    finished.snakemake("--directory", str(tmp_path), "results/states/mini-sd/uce.0/delta.safetensors")
    assert (tmp_path / "results/states/mini-sd/uce.0/delta.safetensors").exists()
    assert finished.rules() == {}


def test_the_default_study_is_not_mixed_into_another(finished):
    """Without --configfile it is config.yaml, with it that file alone, and --config changes single values."""
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "plan", "--quiet"]
    for extra, words in (
        (["--configfile", STUDY, "--config", "seeds=5"], ["smoke: 8 cells, 2 edits", "180 pictures"]),
        ([], ["miniature:"]),
    ):
        done = subprocess.run([*command, *extra], cwd=finished.folder, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert all(word in done.stdout for word in words), done.stdout


def test_every_arm_editor_and_corpus_becomes_jobs(tmp_path):
    """Orders of steps, a carried adapter, moments, a placebo, general probes and a lineage that is spelt out."""
    workspace = Workspace(tmp_path).echo()
    study = yaml.safe_load((tmp_path / STUDY).read_text())
    study["editors"]["refact"] = {"method": "refact", "layer": 1, "tasks": ["role"]}
    study["corpora"] |= {
        "mirror": {"kind": "placebo", "relation": "placebo", "captions": "heldout", "images": 3},
        "heldout": {"kind": "world", "relation": "unrelated", "images": 5},
    }
    study["general"] = {"corpus": "heldout", "images": 5, "arms": ["edited_tuned"]}
    arms = ["tuned_edited", "edited_tuned_edited", "edited_carried"]
    study["tunings"] = [{"tuner": "lora", "corpus": "mascot", "arms": arms}, {"tuner": "lora", "corpus": "mirror"}]
    study["lineages"] = [{"lineage": "uce.*/lora.mascot.s0/lora.mirror.s0"}]
    (tmp_path / STUDY).write_text(yaml.safe_dump(study))
    # base, 2 edited, 2 tuned, 2 x 3 arms of the mascot, 2 of the mirror, 1 asked for.
    counts = workspace.rules("--", "results/tables/scores.parquet")
    assert counts["score_images"] == 1 + 2 + 2 + 6 + 2 + 1
    # Those, and the general probes of the base and of what was edited and then tuned.
    assert counts["sample_images"] == 14 + 3
    assert counts["score_quality"] == 3
    # Each editor on the base, on the tuned base, and again on what it had edited and a tuning had changed.
    assert counts["edit_model"] == 2 * 3
    # The base, and each edited state, on either corpus; the lineage's second tuning. None for the carried adapters.
    assert counts["tune_model"] == 2 + 4 + 1
    assert (counts["gather_moments"], counts["draw_placebo"], counts["draw_corpus"]) == (1, 1, 2)
    workspace.snakemake("--", "results/tables/scores.parquet")
    assert workspace.rules("--", "results/tables/scores.parquet") == {}
    # A setting of ReFACT's reruns its own states and leaves UCE's and the moments alone; a layer needs other moments.
    workspace.replace(STUDY, "layer: 1", "layer: 1\n    clamp: 5")
    counts = workspace.rules("--", "results/tables/scores.parquet")
    assert (counts["edit_model"], "gather_moments" in counts, "draw_placebo" in counts) == (3, False, False)
    assert all("refact" in output for rule, output in workspace.jobs() if rule in ("edit_model", "sample_images"))
    workspace.replace(STUDY, "layer: 1", "layer: 0")
    assert workspace.rules("--", "results/tables/scores.parquet")["gather_moments"] == 1


def test_the_whole_matrix_can_be_planned():
    from holdfast.config import check, read
    from holdfast.edits import read_edits, read_preserve
    from holdfast.plan import lines
    from holdfast.study import Study
    from tests.workspace import ROOT

    config = check(read(ROOT / "studies/exhaustive-miniature.yaml"), ROOT / "workflow/schemas/config.schema.yaml")
    edits, preserve = read_edits(ROOT / config["edits"]), read_preserve(ROOT / config["preserve"])
    study = Study(config, edits, preserve)
    states = {(cell.family, cell.lineage) for cell in study.cells()}
    for family in ("mini-sd", "mini-flux"):
        assert len(study.variants(family)) == len(edits)
        for tuner in ("lora", "dora", "full", "dreambooth"):
            for site in ("", "-text_encoder", "-both"):
                assert (family, f"uce.0/{tuner}{site}.mascot.s0") in states
        for corpus in ("mascot", "sketch", "neighbours", "reverting", "placebo"):
            for lineage in ("uce.0/{}", "refact.0/{}", "{}", "{}/uce.0", "uce.0/{}/uce.0", "uce.0/{}@base"):
                assert (family, lineage.format(f"dora.{corpus}.s0")) in states
    assert ("mini-flux", "refact-t5.0") in states
    assert ("mini-sd", "refact-t5.0") not in states
    assert {line.rule for line in lines(study)} >= {"gather_moments", "draw_placebo", "tune_model", "score_quality"}
