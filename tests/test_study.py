"""A study: its shards, its jobs, and what they depend on."""

import ast
from dataclasses import replace

import pytest

from holdfast import paths, plan, study
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
    return Edit(name, task, f"a thing{number}", f"a blue thing{number}", probes)


def a_study(edits, **family):
    config = check(read(ROOT / "studies/smoke.yaml"), ROOT / "workflow/schemas/config.schema.yaml")
    config["families"][FAMILY].update(family)
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
    the_study.check_labels()
    edit = the_study.edits[0]
    for labels, sentence in (
        (
            {"colour": "bleu"},
            "edits/smoke.csv: the probe 'e0-e0' has the label colour=bleu.*knows colour=red, ",
        ),
        ({"color": "red"}, "the label color=red, which mini-classifier can't tell; it knows noun, colour"),
    ):
        probe = replace(edit.probes[0], new_labels=labels)
        with pytest.raises(HoldfastError, match=sentence):
            replace(the_study, edits=(replace(edit, probes=(probe,)),)).check_labels()
    with pytest.raises(HoldfastError, match="smoke-preserve.csv: the concept 'a leaf' has the label noun=leef"):
        replace(the_study, shown={"role": {"a leaf": {"noun": "leef"}}}).check_labels()


@pytest.mark.parametrize(
    ("method", "arguments", "sentence"),
    [
        ("edit_job", (FAMILY, "uce.7"), "no step 'uce.7'"),
        ("edit_job", (FAMILY, "ucx.0"), "no step 'ucx.0'"),
        ("tune_job", (FAMILY, "lora.sketch.s0"), "no step 'lora.sketch.s0'"),
        ("delta_files", (FAMILY, "uce.0/lora.mascot.s0@base"), "no step 'lora.mascot.s0@base'"),
        ("delta_files", ("sd14", "uce.0"), "no family 'sd14'"),
        ("sample_job", (FAMILY, "uce.0", "edits-3"), "no probes 'edits-3'"),
        ("sample_job", (FAMILY, "uce.0", "edits-1"), "holds other edits than 'edits-1'"),
    ],
)
def test_a_state_that_the_study_lacks_is_refused(method, arguments, sentence):
    with pytest.raises(HoldfastError, match=sentence):
        getattr(a_study([an_edit(0), an_edit(1)], variants_per_job=1), method)(*arguments)


def test_the_plan_counts_by_hand():
    """2 edits in 2 models of 1 shard; a base, an edited, a tuned and an edited and tuned state; 4 probes, 2 seeds."""
    table = {line.rule: line for line in plan.lines(a_study([an_edit(0), an_edit(1)]))}
    assert (table["edit_model"].jobs, table["edit_model"].work) == (1, 2)
    # One tuning of the base and one of each variant, 4 steps each.
    assert (table["tune_model"].jobs, table["tune_model"].work) == (2, 3 * 4)
    # 8 pictures a state, twice for the two snapshots where it was tuned.
    assert (table["sample_images"].jobs, table["sample_images"].work) == (4, 8 + 8 + 16 + 16)
    assert table["sample_images"].seconds == pytest.approx(4 * 12 + 48 * 0.1)
    assert "in all" in plan.text(a_study([an_edit(0)]))


def test_a_digest_sees_what_code_does_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "__file__", str(tmp_path / "study.py"))
    source = '"""Doc."""\n\ndef f(x):\n    """Doc of f."""\n    # why\n    return x + 1\n'
    digests = []
    for text in (
        source,
        source.replace("Doc", "Other"),
        source.replace("# why", "# because"),
        source.replace("+ 1", "+ 2"),
    ):
        (tmp_path / "method.py").write_text(text)
        study._tree.cache_clear()
        digests.append(study.code_digest("method"))
    study._tree.cache_clear()
    assert digests[0] == digests[1] == digests[2] != digests[3]


# What never decides a value: how things are told, stored, named and described, and the registries.
PLUMBING = {
    "jobs.check",
    "lineage",
    "errors",
    "log",
    "devices",
    "artifacts",
    "compat",
    "hub",
    "edits",
    "families",
    "editors",
    "tuners",
    "scorers",
    "world",
}


@pytest.mark.parametrize(("job", "arguments"), [
    ("edit", (FAMILY, "uce.0")), ("tune", (FAMILY, "lora.mascot.s0")),
    ("sample", (FAMILY, "base", "edits-0")), ("score", (FAMILY, "base", "edits-0")), ("corpus", ("mascot",)),
])  # fmt: skip
def test_every_module_that_a_job_computes_with_is_in_its_digest(job, arguments, monkeypatch):
    """A job imports its method through a registry, so the digest's own list is where the search for imports starts."""
    listed = []
    monkeypatch.setattr(study, "code_digest", lambda *modules: listed.extend(modules) or "x")
    getattr(a_study([an_edit(0)]), f"{job}_job")(*arguments)
    found, queue = set(), list(listed)
    while queue:
        module = queue.pop()
        if module not in found:
            found.add(module)
            queue += [name for name in _imports(module) if name not in PLUMBING]
    assert found == set(listed)


def _imports(module, function=None):
    """Modules of the package that a module, or one function of it, imports anywhere, relative to the package."""
    file = (ROOT / "holdfast").joinpath(*module.split(".")).with_suffix(".py")
    tree = ast.parse(file.read_text())
    if function:
        tree = next(node for node in tree.body if getattr(node, "name", None) == function)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            package = (node.module or "").removeprefix("holdfast").strip(".")
            if node.level:
                package = ".".join([*module.split(".")[: -node.level], *filter(None, [node.module])])
            elif not (node.module or "").startswith("holdfast"):
                continue
            for alias in node.names:
                name = f"{package}.{alias.name}".strip(".")
                path = (ROOT / "holdfast").joinpath(*name.split("."))
                yield name if path.with_suffix(".py").exists() or path.is_dir() else package


def test_paths_name_shards():
    assert paths.probes(3) == "edits-3"
    assert (
        paths.scores(FAMILY, "uce.0/lora.m.s0", "edits-0") == "results/scores/mini-sd/uce.0/lora.m.s0/edits-0.parquet"
    )
