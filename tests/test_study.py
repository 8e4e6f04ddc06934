"""A study: its shards, its jobs, and what they depend on."""

from dataclasses import replace

import pytest

from holdfast import digests, labels, paths, study
from holdfast.config import check, read
from holdfast.edits import Edit, Probe, read_edits, read_preserve, read_shown
from holdfast.errors import HoldfastError
from tests.workspace import ROOT

FAMILY = "mini-sd"


def an_edit(number, task="appearance"):
    name = f"e{number}"
    probes = (
        Probe(
            f"{name}-e0",
            name,
            task,
            "efficacy",
            f"a thing{number}",
            f"a thing{number}",
            f"a blue thing{number}",
            {},
            {},
        ),
        Probe(f"{name}-s0", name, task, "specificity", "a heart at night", "a heart at night", "a blue heart", {}, {}),
    )
    return Edit(name, task, f"a thing{number}", f"a blue thing{number}", probes, f"edits/mine.csv, line {number + 2}")


def a_study(edits, changes=None, **family):
    """The smoke study with these edits; `changes` to its configuration, `family` to its family."""
    config = {**read(ROOT / "studies/smoke.yaml"), **(changes or {})}
    config["families"][FAMILY].update(family)
    config = check(config, ROOT / "workflow/schemas/config.schema.yaml")
    return study.Study(config, tuple(edits), {"appearance": ("thing1", "a heart", "a leaf"), "role": ("Bob",)})


def test_an_appended_edit_leaves_the_earlier_shards_alone():
    edits = [an_edit(number) for number in range(5)]
    before, after = a_study(edits[:4], variants_per_job=2), a_study(edits, variants_per_job=2)
    assert [[variant.id for variant in shard] for shard in after.shards(FAMILY)] == [["e0", "e1"], ["e2", "e3"], ["e4"]]
    for cell in before.cells():
        assert before.sample_job(*cell) == after.sample_job(*cell)
        assert before.score_job(*cell) == after.score_job(*cell)
    assert before.edit_job(FAMILY, "uce.1") == after.edit_job(FAMILY, "uce.1")


def test_together_puts_a_tasks_edits_into_one_model():
    both = a_study([an_edit(0), an_edit(1, "role"), an_edit(2)], together="task")
    assert [(v.id, [edit.id for edit in v.edits]) for v in both.variants(FAMILY)] == [
        ("appearance", ["e0", "e2"]),
        ("role", ["e1"]),
    ]


def test_edits_per_model_divides_a_tasks_edits_and_leaves_the_first_models_alone():
    edits = [an_edit(0), an_edit(1, "role"), an_edit(2), an_edit(3)]
    settings = {"together": "task", "edits_per_model": 2}
    before, after = a_study(edits, **settings), a_study([*edits, an_edit(4)], **settings)
    models = [(v.id, v.task, [edit.id for edit in v.edits]) for v in before.variants(FAMILY)]
    assert models == [
        ("appearance-0", "appearance", ["e0", "e2"]),
        ("appearance-1", "appearance", ["e3"]),
        ("role-0", "role", ["e1"]),
    ]
    assert after.variants(FAMILY)[0] == before.variants(FAMILY)[0]
    assert [edit.id for edit in after.variants(FAMILY)[1].edits] == ["e3", "e4"]


def test_a_model_that_should_show_two_things_for_one_source_is_refused():
    twice = [an_edit(0), an_edit(1), replace(an_edit(2), source="a thing0")]
    with pytest.raises(HoldfastError, match="line 4: 'e2' and 'e0' both change 'a thing0' in one model"):
        a_study(twice, together="task").variants(FAMILY)
    assert len(a_study(twice, together="task", edits_per_model=2).variants(FAMILY)) == 2
    assert len(a_study(twice, together="none").variants(FAMILY)) == 3


def test_a_state_draws_its_own_variants_probes_and_a_base_draws_all():
    the_study = a_study([an_edit(0), an_edit(1)], variants_per_job=2)
    drawn = the_study.sample_job(FAMILY, "uce.0/lora.mascot.s0", "edits-0")
    assert [row[:2] for row in drawn["probes"]] == [["e0", "e0-e0"], ["e0", "e0-s0"], ["e1", "e1-e0"], ["e1", "e1-s0"]]
    assert drawn["tuning_steps"] == [2, 4]
    base = the_study.sample_job(FAMILY, "base", "edits-0")
    assert {row[0] for row in base["probes"]} == {"base"}
    assert [row[1:] for row in base["probes"]] == [row[1:] for row in drawn["probes"]]
    assert base["tuning_steps"] == [0]
    assert the_study.tune_job(FAMILY, "lora.mascot.s0")["variants"] == ["base"]
    assert the_study.tune_job(FAMILY, "uce.0/lora.mascot.s0")["variants"] == ["e0", "e1"]


def test_what_is_edited_is_not_preserved_and_no_rival_is_contained_in_a_probes_texts():
    the_study = a_study([an_edit(1)])
    assert the_study.edit_job(FAMILY, "uce.0")["variants"][0]["preserve"] == ["a heart", "a leaf"]
    rivals = the_study.score_job(FAMILY, "uce.0", "edits-0")["rivals"]
    assert rivals == {"e1-e0": ["a heart", "a leaf"], "e1-s0": ["a thing1", "a blue thing1", "thing1", "a leaf"]}


def test_no_rival_of_a_miniatures_probe_shows_what_the_probes_own_texts_show():
    config = check(read(ROOT / "config.yaml"), ROOT / "workflow/schemas/config.schema.yaml")
    edits, preserve = read_edits(ROOT / config["edits"]), ROOT / config["preserve"]
    the_study = study.Study(config, edits, read_preserve(preserve), read_shown(preserve))
    rivals = the_study.score_job(FAMILY, "base", "edits-0")["rivals"]
    # The king and the sheriff are drawn as Alice, the queen and the mayor as Bob.
    assert not {"Alice", "the sheriff", "Bob", "the mayor", "the king", "the queen"} & {*rivals["king-bob-e0"]}
    assert {"Carol", "the judge", "a rose"} <= {*rivals["king-bob-e0"]}
    shown = {text: labels for task in the_study.shown.values() for text, labels in task.items()}
    for edit in edits:
        for probe in edit.probes:
            assert len(rivals[probe.id]) > 20
            assert all(shown.get(text) not in (probe.old_labels, probe.new_labels) for text in rivals[probe.id])
            sheriff = probe.role == "specificity" and probe.old == "the sheriff"
            assert not (sheriff and "the king" in rivals[probe.id]), "the edit's own source may be drawn the same, too"


def test_a_label_that_no_classifier_can_tell_is_refused_before_any_job(tmp_path):
    (tmp_path / "config.json").write_text('{"heads": {"noun": ["rose"], "colour": ["red", "blue"]}}')
    the_study = a_study([an_edit(0)])
    the_study.config["scorers"]["mini-classifier"]["source"] = str(tmp_path)
    labels.check(the_study)
    edit = the_study.edits[0]
    for wrong, sentence in (
        (
            {"colour": "bleu"},
            "edits/mine.csv, line 2: the probe 'e0-e0' has the label colour=bleu.*knows colour=red, ",
        ),
        ({"color": "red"}, "the label color=red, which mini-classifier can't tell; it knows noun, colour"),
    ):
        probe = replace(edit.probes[0], new_labels=wrong)
        with pytest.raises(HoldfastError, match=sentence):
            labels.check(replace(the_study, edits=(replace(edit, probes=(probe,)),)))
    with pytest.raises(HoldfastError, match="smoke-preserve.csv: the concept 'a leaf' has the label noun=leef"):
        labels.check(replace(the_study, shown={"role": {"a leaf": {"noun": "leef"}}}))


@pytest.mark.parametrize(
    ("method", "arguments", "sentence"),
    [
        ("edit_job", (FAMILY, "uce.7"), "no step 'uce.7'"),
        ("edit_job", (FAMILY, "ucx.0"), "no step 'ucx.0'"),
        ("tune_job", (FAMILY, "lora.sketch.s0"), "no step 'lora.sketch.s0'"),
        ("delta_files", (FAMILY, "lora.mascot.s0@base"), "no step 'lora.mascot.s0@base'"),
        ("delta_files", (FAMILY, "uce.0/lora.mascot.s0/uce.1"), "edits two shards"),
        ("quality_job", (FAMILY, "base"), "has no general probes"),
        ("placebo_job", (FAMILY, "mascot"), "'mascot' is no placebo"),
        ("delta_files", ("sd14", "uce.0"), "no family 'sd14'"),
        ("sample_job", (FAMILY, "uce.0", "edits-3"), "no probes 'edits-3'"),
        ("sample_job", (FAMILY, "uce.0", "edits-1"), "holds other edits than 'edits-1'"),
    ],
)
def test_a_state_that_the_study_lacks_is_refused(method, arguments, sentence):
    with pytest.raises(HoldfastError, match=sentence):
        getattr(a_study([an_edit(0), an_edit(1)], variants_per_job=1), method)(*arguments)


def lineages_of(the_study):
    return [cell.lineage for cell in the_study.cells()]


def test_every_arm_is_a_lineage_and_a_carried_adapter_is_the_bases():
    arms = ["tuned", "edited_tuned", "tuned_edited", "edited_tuned_edited", "edited_carried"]
    the_study = a_study([an_edit(0)], {"tunings": [{"tuner": "lora", "corpus": "mascot", "arms": arms}]})
    tune = "lora.mascot.s0"
    assert lineages_of(the_study) == [
        "base", "uce.0", tune, f"uce.0/{tune}", f"{tune}/uce.0", f"uce.0/{tune}/uce.0", f"uce.0/{tune}@base",
    ]  # fmt: skip
    edited, tuned = (paths.delta(FAMILY, lineage) for lineage in ("uce.0", tune))
    assert the_study.delta_files(FAMILY, f"uce.0/{tune}@base") == [edited, tuned]
    again = f"uce.0/{tune}@base/uce.0"
    assert the_study.delta_files(FAMILY, again) == [edited, tuned, paths.delta(FAMILY, again)]
    # Snapshots belong to a tuning that ends the lineage; what was edited since stands on the last one.
    steps = {lineage: the_study.sample_job(FAMILY, lineage, "edits-0")["tuning_steps"] for lineage in (
        "uce.0", f"uce.0/{tune}@base", f"{tune}/uce.0", again)}  # fmt: skip
    assert steps == {"uce.0": [0], f"uce.0/{tune}@base": [2, 4], f"{tune}/uce.0": [4], again: [4]}


def test_causal_arms_use_the_files_of_their_steps():
    arms = ["edited_projected", "edited_tuned_grafted"]
    the_study = a_study([an_edit(0)], {"tunings": [{"tuner": "lora", "corpus": "mascot", "arms": arms}]})
    tune = "lora.mascot.s0"
    off, back = f"uce.0/{tune}@off", f"uce.0/{tune}/uce.0@base"
    assert lineages_of(the_study) == ["base", "uce.0", tune, off, back]
    edited, tuned = (paths.delta(FAMILY, lineage) for lineage in ("uce.0", f"uce.0/{tune}"))
    assert the_study.delta_files(FAMILY, off) == [edited, tuned]
    assert the_study.delta_files(FAMILY, back) == [edited, tuned, edited]
    assert the_study.sample_job(FAMILY, off, "edits-0")["tuning_steps"] == [2, 4]
    with pytest.raises(HoldfastError, match="no adapter of its own"):
        the_study.adapter_job(FAMILY, off, "e0")


def test_a_lineage_of_any_length_can_be_asked_for_in_each_shard():
    asked = [{"lineage": "uce.*/lora.mascot.s0/lora.mascot.s1"}, {"lineage": "uce.1/lora.mascot.s3"}]
    the_study = a_study([an_edit(0), an_edit(1)], {"lineages": asked, "tunings": []}, variants_per_job=1)
    assert [(cell.lineage, cell.probes) for cell in the_study.cells() if "lora" in cell.lineage] == [
        ("uce.0/lora.mascot.s0/lora.mascot.s1", "edits-0"),
        ("uce.1/lora.mascot.s0/lora.mascot.s1", "edits-1"),
        ("uce.1/lora.mascot.s3", "edits-1"),
    ]
    assert the_study.tune_job(FAMILY, "uce.0/lora.mascot.s0/lora.mascot.s1")["variants"] == ["e0"]
    with pytest.raises(HoldfastError, match=r"no step 'uce.1': it has 1 shard\(s\)"):
        a_study([an_edit(0)], {"lineages": [{"lineage": "uce.1"}]}).cells()
    with pytest.raises(HoldfastError, match="no step 'uxe.0'"):
        a_study([an_edit(0)], {"lineages": [{"lineage": "uxe.0"}]}).cells()


def test_an_editor_makes_the_edits_of_its_tasks_and_families_only():
    editors = {
        "uce": {"method": "uce"},
        "names": {"method": "refact", "tasks": ["role"], "layer": {"clip": 1, "t5": 2}, "encoder": "all"},
    }
    edits = [an_edit(0), an_edit(1, "role"), an_edit(2)]
    the_study = a_study(edits, {"editors": editors}, variants_per_job=2)
    assert [v["id"] for v in the_study.edit_job(FAMILY, "names.0")["variants"]] == ["e1"]
    # The second shard has nothing for it, and the first one's states hold what all their editors take.
    assert not any("names.1" in lineage for lineage in lineages_of(the_study))
    drawn = the_study.sample_job(FAMILY, "names.0/lora.mascot.s0", "edits-0")["probes"]
    assert {row[0] for row in drawn} == {"e1"}
    assert the_study.tune_job(FAMILY, "uce.0/lora.mascot.s0")["variants"] == ["e0", "e1"]
    assert [v["id"] for v in the_study.edit_job(FAMILY, "uce.0/lora.mascot.s0/names.0")["variants"]] == ["e1"]
    assert len({row[1] for row in the_study.sample_job(FAMILY, "base", "edits-0")["probes"]}) == 4
    with pytest.raises(HoldfastError, match="edits nothing of mini-sd"):
        the_study.edit_job(FAMILY, "names.1")
    assert the_study.moments_job(FAMILY)["modules"] == [["clip", 1]]
    assert the_study.needs_moments(FAMILY, "names.0")
    assert not the_study.needs_moments(FAMILY, "uce.0")


def test_a_tuning_can_be_for_some_editors_only():
    editors = {"uce": {"method": "uce"}, "other": {"method": "uce", "tokens": "last"}}
    tunings = [{"tuner": "lora", "corpus": "mascot", "editors": ["other"]}]
    found = lineages_of(a_study([an_edit(0)], {"editors": editors, "tunings": tunings}))
    assert found == ["base", "uce.0", "other.0", "lora.mascot.s0", "other.0/lora.mascot.s0"]


def test_debiasing_alone_samples_and_asks_a_scorer():
    the_study = a_study([an_edit(0), an_edit(1, "debias")], variants_per_job=1)
    assert the_study.edit_job(FAMILY, "uce.0")["sampling"] is None
    assert the_study.edit_job(FAMILY, "uce.1")["sampling"] == {"steps": 3, "guidance_scale": 2.0}
    assert [the_study.needs_scorer(FAMILY, f"uce.{shard}") for shard in (0, 1)] == [False, True]


def test_general_probes_are_drawn_once_by_the_arms_that_ask(monkeypatch):
    corpora = {
        "mascot": {"kind": "world", "relation": "unrelated", "images": 4},
        "heldout": {"kind": "world", "relation": "unrelated", "images": 9},
    }
    general = {"corpus": "heldout", "images": 7, "arms": ["edited_tuned"]}
    edits = [an_edit(0), an_edit(1), an_edit(2)]
    the_study = a_study(edits, {"corpora": corpora, "general": general}, variants_per_job=2)
    assert the_study.general_cells() == (
        (FAMILY, "base", "general"),
        (FAMILY, "uce.0/lora.mascot.s0", "general"),
        (FAMILY, "uce.1/lora.mascot.s0", "general"),
    )
    job = the_study.sample_job(FAMILY, "uce.0/lora.mascot.s0", "general")
    assert (job["general"], job["seeds"], job["tuning_steps"]) == ({"variants": ["e0", "e1"], "images": 7}, 1, [4])
    assert the_study.sample_job(FAMILY, "base", "general")["general"]["variants"] == ["base"]


def test_a_placebo_is_each_familys_own():
    corpora = {
        "mascot": {"kind": "placebo", "relation": "placebo", "captions": "heldout", "images": 3},
        "heldout": {"kind": "world", "relation": "unrelated", "images": 9},
    }
    the_study = a_study([an_edit(0)], {"corpora": corpora})
    assert the_study.corpus_folder(FAMILY, "mascot") == "resources/corpora/mascot/mini-sd"
    assert the_study.corpus_folder(FAMILY, "heldout") == "resources/corpora/heldout"
    assert the_study.placebo_job(FAMILY, "mascot")["captions"] == "heldout"
    with pytest.raises(HoldfastError, match="which each family draws itself"):
        the_study.corpus_job("mascot")


def forget():
    """What this process has read of the code is read again."""
    for cached in (digests._tree, digests._imports, digests.closure, digests.code_digest):
        cached.cache_clear()


def test_a_digest_sees_what_code_does_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(digests, "__file__", str(tmp_path / "digests.py"))
    source = '"""Doc."""\n\ndef f(x):\n    """Doc of f."""\n    # why\n    return x + 1\n'
    found = []
    for text in (
        source,
        source.replace("Doc", "Other"),
        source.replace("# why", "# because"),
        source.replace("+ 1", "+ 2"),
    ):
        (tmp_path / "method.py").write_text(text)
        forget()
        found.append(study.code_digest("method"))
    forget()
    assert found[0] == found[1] == found[2] != found[3]


def test_a_digest_follows_imports_however_they_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(digests, "__file__", str(tmp_path / "digests.py"))
    forget()
    (tmp_path / "jobs").mkdir()
    for name, text in {
        "__init__": "",
        "jobs/__init__": "",
        "jobs/a": "def f():\n    from holdfast import b, log\n    from holdfast.jobs.c import g\nfrom . import d\n",
        "jobs/c": "import holdfast.e\nfrom ..g import x\n",
        **dict.fromkeys(("b", "jobs/d", "e", "g", "log", "unused"), ""),
    }.items():
        (tmp_path / f"{name}.py").write_text(text)
    assert digests.closure("jobs.a") == ("b", "e", "g", "jobs.a", "jobs.c", "jobs.d")
    assert digests.closure("jobs.a", without=("jobs.c", "b")) == ("jobs.a", "jobs.d")
    forget()


@pytest.mark.parametrize(
    ("job", "arguments", "within", "without"),
    [
        ("edit", (FAMILY, "uce.0"), {"jobs.edit", "states", "editors.uce", "families.sd"}, {"sampling", "tuners.lora"}),
        ("tune", (FAMILY, "lora.mascot.s0"), {"jobs.tune", "tuners.lora", "tuners.loop", "corpora"}, {"sampling"}),
        ("sample", (FAMILY, "base", "edits-0"), {"jobs.sample", "sampling", "noise", "states"}, {"corpora"}),
        ("score", (FAMILY, "base", "edits-0"), {"jobs.score", "scorers.clip", "scorers.network"}, {"noise"}),
        ("corpus", ("mascot",), {"jobs.corpus", "world.corpora", "world.pen", "world.scenes"}, {"states"}),
    ],
)
def test_a_jobs_digest_is_of_what_it_computes_with(job, arguments, within, without, monkeypatch):
    found = []
    monkeypatch.setattr(digests, "code_digest", lambda *modules: found.extend(modules) or "x")
    getattr(a_study([an_edit(0)]), f"{job}_job")(*arguments)
    assert within <= {*found}
    assert not without & {*found}
    assert not digests.PLUMBING & {*found}


def test_a_files_method_is_described_by_what_it_uses_of_the_package(tmp_path, monkeypatch):
    file, found = tmp_path / "own.py", []
    file.write_text(
        "from holdfast import families\nfrom . import x\ndef tune():\n    from holdfast.tuners import training\n"
    )
    tuners = {"own": {"method": str(file), "steps": 4}}
    the_study = a_study([an_edit(0)], {"tuners": tuners, "tunings": [{"tuner": "own", "corpus": "mascot"}]})
    monkeypatch.setattr(digests, "code_digest", lambda *modules: found.extend(modules) or "x")
    the_study.tune_job(FAMILY, "own.mascot.s0")
    assert {"tuners.training", "tuners.loop", "tuners.objective"} <= {*found}
    assert not digests.PLUMBING & {*found}


def test_paths_name_shards():
    assert paths.probes(3) == "edits-3"
    assert (
        paths.scores(FAMILY, "uce.0/lora.m.s0", "edits-0") == "results/scores/mini-sd/uce.0/lora.m.s0/edits-0.parquet"
    )
