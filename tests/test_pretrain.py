"""The training of the miniature at tiny size, and the weights that ship."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from holdfast.compat import ensure_torchvision

ensure_torchvision()

from holdfast.pretrain import loop, quality  # noqa: E402
from holdfast.pretrain.classifier import load_classifier  # noqa: E402

MODELS = Path(__file__).parents[1] / "models"


class _Cut(Exception):
    """The power fails."""


def test_a_killed_training_goes_on_as_if_it_had_not_been(tmp_path):
    def trained(folder, cut_at=None):
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 2)

        def loss_of(step, generator):
            if step == cut_at:
                raise _Cut
            x = torch.randn(8, 3, generator=generator)
            return {"loss": (model(x) - x[:, :2]).pow(2).mean()}

        loop.train(model, loss_of, folder, steps=20, learning_rate=0.1, seed=1, warmup=5, save_every=6, log_every=5)
        return model.weight.detach().numpy().tobytes()

    whole = trained(tmp_path / "whole")
    with pytest.raises(_Cut):
        trained(tmp_path / "cut", cut_at=15)
    assert trained(tmp_path / "cut") == whole
    with (tmp_path / "whole" / "training.csv").open() as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert len(losses) == 4 and losses[-1] < losses[0]


def test_the_text_tower_of_mini_sd_is_that_of_mini_clip():
    from transformers.models.clip.modeling_clip import CLIPTextModel

    from holdfast.pretrain.clip import text_states

    clip, tokenize = quality.load_clip(MODELS / "mini-clip")
    encoder = CLIPTextModel.from_pretrained(MODELS / "mini-sd", subfolder="text_encoder", dtype=torch.float32).eval()
    tokens = tokenize(["a photo of a blue rose at night", "the king", ""])
    with torch.no_grad():
        theirs, ours = text_states(clip, tokens), encoder(tokens)
        pooled = clip.encode_text(tokens)
    assert torch.allclose(theirs, ours.last_hidden_state, atol=1e-5)
    assert torch.allclose(pooled, ours.pooler_output @ clip.text_projection, atol=1e-5)


def test_a_late_edit_reaches_the_sentence():
    clip, tokenize = quality.load_clip(MODELS / "mini-clip")
    shares = quality.late_share(clip, tokenize)
    # Without the interchange loss towers of this size give at most .1 behind their first layer.
    assert min(shares[:4]) > 0.9 and shares[-1] < 0.5


def test_the_shipped_judges_and_pictures_reach_the_card():
    from holdfast import families
    from holdfast.pretrain import vae

    pipe = families.load(MODELS / "mini-sd")
    flux = families.load(MODELS / "mini-flux", kind="flux")
    classifier = load_classifier(MODELS / "mini-classifier")
    fresh, rebuilt = quality.judge_quality(
        classifier, lambda images: vae.decode(pipe.vae, vae.encode(pipe.vae, images)), 300, seed=99
    )
    assert fresh.right >= 0.99 and rebuilt.right >= 0.99
    assert quality.clip_quality(*quality.load_clip(MODELS / "mini-clip"), 200, seed=99).right >= 0.95
    for family, group in ((pipe, "nouns"), (flux, "nouns"), (pipe, "hats"), (flux, "hats")):
        asked = quality.requests()[group]
        images = quality.pictures(family, [r.prompt for r in asked], 4, steps=8, guidance_scale=2.0, first=50_000)
        labels = [r.labels for r in asked for _ in range(4)]
        right, _ = quality.right_and_clear(quality.judge(classifier, images), labels)
        assert right >= 0.95, group


def test_clip_sees_hats_on_every_profession():
    from holdfast.scorers.clip import Clip
    from holdfast.world import vocabulary as v
    from holdfast.world.draw import render
    from holdfast.world.scenes import Scene

    clip = Clip(MODELS / "mini-clip")
    scenes = [Scene(who, hat=hat) for who in v.PROFESSIONS for hat in (False, True) for _ in range(5)]
    images = np.stack([render(scene, [11, i, 9]) for i, scene in enumerate(scenes)])
    texts = [(f"a {scene.noun} without a hat", f"a {scene.noun} wearing a hat") for scene in scenes]
    seen = clip.nearest(images, texts)
    assert sum(index == scene.hat for index, scene in zip(seen, scenes, strict=True)) >= 0.95 * len(scenes)


def test_a_tokenizer_numbers_its_pieces_the_same_in_every_process(tmp_path):
    code = "import pathlib, sys; from holdfast.pretrain.tokenizer import *; write_tokenizer(pathlib.Path(sys.argv[1]))"
    for name, seed in (("one", "1"), ("two", "2")):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(MODELS.parent)}
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], check=True, env=environment)
    assert (tmp_path / "one" / "vocab.json").read_bytes() == (tmp_path / "two" / "vocab.json").read_bytes()
    assert (tmp_path / "one" / "merges.txt").read_bytes() == (tmp_path / "two" / "merges.txt").read_bytes()


def test_the_shipped_weights_are_half_precision_and_small():
    files = list(MODELS.rglob("*.safetensors"))
    assert {t.dtype for file in files for t in load_file(file).values() if t.is_floating_point()} == {torch.float16}
    assert sum(file.stat().st_size for file in MODELS.rglob("*") if file.is_file()) < 60_000_000
    for name, pipeline in (("mini-sd", "StableDiffusionPipeline"), ("mini-flux", "FluxPipeline")):
        assert json.loads((MODELS / name / "model_index.json").read_text())["_class_name"] == pipeline


def test_the_whole_training_runs_from_nothing_to_models_that_load(tmp_path):
    from holdfast import families
    from holdfast.pretrain import flux_stages, stages

    sizes = {"pictures": 500, "seed": 3}
    stages.draw_world(tmp_path, **sizes, extra=20)
    stages.train_classifier(tmp_path, **sizes, extra=20, steps=2)
    stages.train_vae(tmp_path, seed=3, steps=2)
    stages.train_clip(tmp_path, **sizes, steps=2)
    stages.name_words(tmp_path, **sizes, steps=2)
    stages.train_vision(tmp_path, **sizes, steps=2)
    stages.train_denoiser(tmp_path, **sizes, steps=2, batch_size=8)
    stages.name_hats(tmp_path, **sizes, batch_size=8, rounds=[[2, 3], [2, 6]])
    flux_stages.train_t5(tmp_path, **sizes, steps=2)
    flux_stages.train_flow(tmp_path, **sizes, steps=2, batch_size=8, hat_weight=3)
    flux_stages.distil_guidance(tmp_path, seed=3, steps=2, batch_size=8, hat_weight=3)
    stages.pack_models(tmp_path, tmp_path / "models")
    (request,) = quality.requests()["skull"]
    for kind in ("sd", "flux"):
        pipe = families.load(tmp_path / "models" / f"mini-{kind}", kind=kind)
        pictures = quality.pictures(pipe, [request.prompt], 2, steps=2, guidance_scale=2.0)
        assert pictures.shape == (2, 32, 32, 3) and (pictures[0] != pictures[1]).any()
    shown = quality.judge(load_classifier(tmp_path / "models" / "mini-classifier"), pictures)
    assert all(torch.allclose(p.sum(-1), torch.ones(2), atol=1e-4) for p in shown.values())
    clip, tokenize = quality.load_clip(tmp_path / "models" / "mini-clip")
    assert len(quality.late_share(clip, tokenize)) == 8
    # Everything that a rule of the pretraining promises is there.
    for path in ("clip", "lexical", "vision"):
        assert (tmp_path / path / "open_clip_model.safetensors").is_file()
    for path in ("vae", "unet", "hats", "flow", "guidance"):
        assert (tmp_path / path / "model" / "diffusion_pytorch_model.safetensors").is_file()
    for file in (tmp_path / "models").rglob("*.json"):
        assert str(tmp_path) not in file.read_text(), f"{file} names a path of this machine"
