"""The drawn world: deterministic pictures with the ground truth that they claim, captions, tokens, edit tables."""

import hashlib
from pathlib import Path

import numpy as np

from holdfast.world import vocabulary as v
from holdfast.world.draw import render
from holdfast.world.scenes import Scene, caption, dataset

ROOT = Path(__file__).parents[1]


def test_a_scene_and_its_picture_depend_on_the_seed_alone():
    few, many = dataset(5, seed=3)[0], dataset(50, seed=3)[0]
    assert many[:5] == few
    assert dataset(5, seed=4)[0] != few
    first, again, other = (render(few[0], [3, seed]) for seed in (0, 0, 1))
    assert first.shape == (32, 32, 3) and first.dtype == np.uint8
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_everything_that_exists_looks_different():
    seen = {}
    for noun in v.NOUNS:
        variants = [Scene(noun, colour=c) for c in v.COLOURS] if noun in v.THINGS else [Scene(noun)]
        if noun in v.PROFESSIONS:
            variants = [Scene(noun, hat=hat) for hat in (True, False)]
        if noun in v.PLACES:
            variants = [Scene(noun, skull=skull) for skull in ((True, False) if v.PLACES[noun] else (False,))]
        for scene in variants:
            digest = hashlib.sha256(render(scene, 0).tobytes()).hexdigest()
            assert digest not in seen, f"{scene} looks like {seen[digest]}"
            seen[digest] = scene


def test_the_colour_of_a_thing_is_in_its_picture():
    for noun in v.THINGS:
        for name, colour in v.COLOURS.items():
            near = np.abs(render(Scene(noun, colour=name), 1).astype(int) - colour).sum(-1) < 60
            assert near.sum() >= 20, f"a {name} {noun} shows {near.sum()} pixels of {name}"


def test_captions_say_what_the_picture_shows_or_leave_it_unsaid():
    scenes, texts = dataset(3000, seed=5, captions=1)
    for scene, (said,) in zip(scenes, texts, strict=True):
        words = said.text.lower().split()
        if scene.colour and "colour" not in said.unsaid:
            assert scene.colour in words or v.THINGS[scene.noun][0] == scene.colour
        for other in set(v.COLOURS) - {scene.colour}:
            assert other not in words
        if scene.hat is not None and "hat" not in said.unsaid:
            assert words[words.index("hat") - 2] == ("wearing" if scene.hat else "without")
        assert any(place in said.text for place in v.CONTEXTS[scene.context])
        assert ("paint" in said.text) == (scene.style == "painting")
    assert len({said.text for (said,) in texts}) > 1000


def test_hats_and_skulls_follow_the_priors_that_the_vocabulary_names():
    scenes = dataset(20000, seed=6)[0]
    for prior, attribute in ((v.PROFESSIONS, "hat"), (v.PLACES, "skull")):
        for noun, share in prior.items():
            shown = [getattr(scene, attribute) for scene in scenes if scene.noun == noun]
            # four standard errors of a binomial share
            assert abs(np.mean(shown) - share) <= 4 * np.sqrt(share * (1 - share) / len(shown)) + 1e-9


def test_a_role_is_drawn_as_its_character():
    rng = np.random.default_rng(0)
    texts = {caption(Scene("alice"), rng).text for _ in range(300)}
    assert any("king" in t for t in texts) and any("Alice" in t for t in texts) and not any("Bob" in t for t in texts)


def test_the_tokenizer_reads_any_text(tmp_path):
    from holdfast.compat import ensure_torchvision

    ensure_torchvision()
    from transformers.models.clip.tokenization_clip import CLIPTokenizer

    from holdfast.pretrain.tokenizer import world_words, write_tokenizer

    size = write_tokenizer(tmp_path)
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path)
    end = tokenizer.eos_token_id
    assert end == size - 1
    for word in world_words():
        assert len(tokenizer(word)["input_ids"]) == 3, f"{word} is not one token"
    for text in ("", "   ", "Zürich 東京 🐍", "\x00\n\t", "<script>", "a" * 5000, "a rose " * 99):
        ids = tokenizer(text, padding="max_length", truncation=True, max_length=16)["input_ids"]
        assert len(ids) == 16 and ids[0] == tokenizer.bos_token_id and end in ids and max(ids) < size


def test_the_edit_tables_are_the_world_s():
    from holdfast.edits import read_edits
    from holdfast.world.edits import preserved, rows

    edits = read_edits(ROOT / "edits/miniature.csv")
    tasks = ["appearance"] * 6 + ["role"] * 6 + ["debias"] * 6 + ["unsafe"] * 3
    assert [edit.task for edit in edits] == tasks
    for edit in edits:
        roles = [probe.role for probe in edit.probes]
        if edit.task in ("appearance", "role"):
            assert [roles.count(r) for r in ("efficacy", "generality", "specificity")] == [1, 5, 5]
        else:
            assert [roles.count("specificity"), len(roles)] == [2, 7]
    assert {row["probe"] for row in rows()} == {probe.id for edit in edits for probe in edit.probes}
    sources = {edit.source for edit in edits}
    assert not {row["concept"] for row in preserved() if row["task"] == "role"} & {e.source for e in edits[6:12]}
    assert sources & {row["concept"] for row in preserved()}, "each task preserves what the other one edits"


def test_the_shipped_tables_are_those_that_the_world_writes(tmp_path):
    from holdfast.world.edits import TABLES, write_tables

    for name in TABLES:
        write_tables(tmp_path / "edits.csv", tmp_path / "preserve.csv", name)
        assert (tmp_path / "edits.csv").read_bytes() == (ROOT / f"edits/{name}.csv").read_bytes()
        assert (tmp_path / "preserve.csv").read_bytes() == (ROOT / f"edits/{name}-preserve.csv").read_bytes()


def test_the_table_of_bias_and_harm_is_a_part_of_the_default_one():
    head, *every = (ROOT / "edits/miniature.csv").read_text().splitlines()
    part = (ROOT / "edits/bias-and-harm.csv").read_text().splitlines()
    assert part == [head, *(row for row in every if row.split(",")[1] in ("debias", "unsafe"))] and len(part) > 60


def test_held_out_edits_share_no_source_with_those_that_settings_were_chosen_on():
    from holdfast.edits import read_edits

    chosen, *others = (read_edits(ROOT / f"edits/{name}.csv") for name in ("miniature", "held-out-0", "held-out-1"))
    for held_out in others:
        assert len(held_out) == 12 and not {e.source for e in chosen} & {e.source for e in held_out}
    assert not {(e.source, e.target) for e in others[0]} & {(e.source, e.target) for e in others[1]}
