"""LoRA: against plain PyTorch, resumed, cached, and leaving the model as it was."""

import copy
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from holdfast import corpora, families, states
from holdfast.errors import HoldfastError
from holdfast.tuners import TUNERS, loop, lora
from holdfast.tuners.cache import Cache
from tests import tiny

tune = TUNERS["lora"]
OPTIONS = {"seed": 3, "steps": 4, "batch_size": 2, "learning_rate": 1e-2}
CAPTIONS = ("a rose", "a blue fish", "a photo of a plum")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    for number, picture in enumerate(pixels):
        Image.fromarray(picture).save(folder / f"{number}.png")
    _write(folder, [(f"{number}.png", text) for number, text in enumerate(CAPTIONS)])
    return folder


def _write(folder, rows):
    lines = [json.dumps({"file_name": name, "text": text}) for name, text in rows]
    (folder / "metadata.jsonl").write_text("\n".join(lines))


def _bytes(snapshots):
    return {step: {name: tensor.numpy().tobytes() for name, tensor in kept.items()} for step, kept in snapshots.items()}


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_three_steps_equal_plain_pytorch(tmp_path, corpus, prediction_type, monkeypatch):
    """The reference merges `W + alpha / rank * up @ down` into copied weights and knows neither peft nor our cache."""
    from diffusers import DDPMScheduler

    pipe = families.load(tiny.build(tmp_path / "model", prediction_type=prediction_type))
    assert loop.MAX_GRAD_NORM == 1.0
    # A tiny untrained model has gradients of norm .1 to .2: the clipping is lowered so that some steps meet it.
    monkeypatch.setattr(loop, "MAX_GRAD_NORM", 0.15)
    rank, alpha = 2, 6
    snapshots = tune(pipe, corpus, rank=rank, alpha=alpha, snapshots=[1, 3], **OPTIONS | {"steps": 3})

    weights = {name: weight.clone() for name, weight in pipe.unet.state_dict().items()}
    names = [name.removeprefix("unet.").removesuffix(".down") for name in snapshots[1] if name.endswith(".down")]
    expected = [name for name in weights if name.rsplit(".", 1)[0].endswith(("to_q", "to_k", "to_v", "to_out.0"))]
    assert {f"{name}.weight" for name in names} == {name for name in expected if name.endswith("weight")}
    init = loop.generator(OPTIONS["seed"], "initialisation")
    down, up = {}, {}
    for name, module in pipe.unet.named_modules():
        if name in names:
            out, width = module.weight.shape
            down[name] = (torch.randn(rank, width, generator=init) / rank).requires_grad_()
            up[name] = torch.zeros(out, rank, requires_grad=True)
    scheduler = DDPMScheduler.from_config(pipe.scheduler.config)
    pictures = torch.stack(
        [torch.tensor(np.asarray(Image.open(path))).permute(2, 0, 1) / 127.5 - 1 for path, _ in corpora.read(corpus)]
    )
    posterior = pipe.vae.encode(pictures).latent_dist
    ids = pipe.tokenizer(list(CAPTIONS), padding="max_length", max_length=16, return_tensors="pt").input_ids
    text = pipe.text_encoder(ids)[0]
    trained = [tensor for name in down for tensor in (down[name], up[name])]
    optimizer = torch.optim.AdamW(trained, lr=OPTIONS["learning_rate"], weight_decay=1e-2)
    norms = []
    for step in range(1, 4):
        rows = loop.batch_of(step, 3, 2, OPTIONS["seed"])
        random = loop.generator(OPTIONS["seed"], "step", step)
        drawn = torch.randn(2, 8, 8, 8, generator=random)
        latents = posterior.mean[rows] + posterior.std[rows] * drawn
        latents = latents * pipe.vae.config.scaling_factor
        noise = torch.randn(2, 8, 8, 8, generator=random)
        timesteps = torch.randint(1000, (2,), generator=random)
        target = noise if prediction_type == "epsilon" else scheduler.get_velocity(latents, noise, timesteps)
        merged = weights | {
            f"{name}.weight": weights[f"{name}.weight"] + alpha / rank * up[name] @ down[name] for name in names
        }
        noisy = scheduler.add_noise(latents, noise, timesteps)
        prediction = torch.func.functional_call(pipe.unet, merged, (noisy, timesteps, text[rows])).sample
        loss = torch.nn.functional.mse_loss(prediction, target)
        optimizer.zero_grad()
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(trained, 0.15)))
        optimizer.step()
        if step in snapshots:
            for name in names:
                torch.testing.assert_close(
                    snapshots[step][f"unet.{name}.down"], down[name].detach(), atol=2e-4, rtol=1e-4
                )
                torch.testing.assert_close(snapshots[step][f"unet.{name}.up"], up[name].detach(), atol=2e-4, rtol=1e-3)
    assert min(norms) < 0.15 < max(norms)


def test_a_killed_and_resumed_tuning_is_bit_equal(tiny_pipe, corpus, tmp_path):
    options = OPTIONS | {"snapshots": [1, 4], "checkpoint_every": 2}
    whole = tune(tiny_pipe, corpus, **options)
    done = []

    def kill(n):
        done.append(n)
        if sum(done) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(tiny_pipe, corpus, checkpoint_dir=tmp_path / "whole", progress=kill, **options)
    done.clear()
    resumed = tune(tiny_pipe, corpus, checkpoint_dir=tmp_path / "whole", progress=done.append, **options)
    assert done == [2, 1, 1] and _bytes(resumed) == _bytes(whole)
    # Nothing of the old run may leak into one with other settings, other captions or other weights.
    changed = tmp_path / "corpus"
    shutil.copytree(corpus, changed)
    _write(changed, [(f"{number}.png", "a leaf") for number in range(3)])
    runs = [(corpus, {"seed": 4}), (changed, {}), (corpus, {})]
    for number, (folder, settings) in enumerate(runs):
        if number == 2:
            tiny_pipe.unet.conv_in.weight.data.mul_(1.01)
        shutil.copytree(tmp_path / "whole", tmp_path / f"{number}")
        done.clear()
        tune(tiny_pipe, folder, checkpoint_dir=tmp_path / f"{number}", progress=done.append, **options | settings)
        assert done == [1, 1, 1, 1], number


@pytest.mark.parametrize("site", ["denoiser", "text_encoder"])
def test_the_pipeline_is_left_bit_equal_also_after_a_failure(tiny_pipe, corpus, site):
    (module,) = families.kind_of(tiny_pipe).site_modules(tiny_pipe, site).values()
    before, attributes, state = copy.deepcopy(module.state_dict()), set(vars(module)), torch.get_rng_state()

    def fail(n):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(tiny_pipe, corpus, site=site, progress=fail, **OPTIONS)
    tuned = tune(tiny_pipe, corpus, site=site, **OPTIONS)
    after = module.state_dict()
    assert list(after) == list(before) and all(torch.equal(after[name], before[name]) for name in before)
    assert set(vars(module)) == attributes and torch.equal(torch.get_rng_state(), state)
    assert not any(parameter.requires_grad for parameter in module.parameters())
    component = "unet." if site == "denoiser" else "text_encoder."
    assert all(name.startswith(component) and tensor.abs().max() > 0 for name, tensor in tuned[4].items())


def test_a_snapshot_equals_a_shorter_run(tiny_pipe, corpus):
    long = tune(tiny_pipe, corpus, snapshots=[2, 4], **OPTIONS)
    short = tune(tiny_pipe, corpus, **OPTIONS | {"steps": 2})
    assert _bytes({2: long[2]}) == _bytes(short)


def test_tuning_fits_the_corpus_and_its_delta_applies(tiny_pipe, tiny_dir, corpus, tmp_path):
    settings = {"rank": 4, "alpha": 8}
    tuned = tune(tiny_pipe, corpus, **settings, **OPTIONS | {"steps": 150, "batch_size": 3})
    path = tmp_path / "delta.safetensors"
    states.save(
        path,
        {"base": tuned},
        step="tune",
        method="lora",
        method_version=lora.VERSION,
        hyperparameters=settings,
        family="tiny",
        lineage="lora.test.s0",
        model_dir=tiny_dir,
    )
    data = lora._Data(tiny_pipe, corpora.read(corpus), Cache(), live_text=False)

    def loss(pipe):
        values = []
        for number in range(20):
            rows, generator = torch.arange(3), loop.generator(99, "evaluation", number)
            with torch.no_grad():
                values.append(lora._loss(pipe, data, rows, generator, caption_dropout=0, snr_gamma=None).item())
        return sum(values) / len(values)

    assert loss(states.load(tiny_dir, [path])) < 0.9 * loss(tiny_pipe)


def test_the_cache_pairs_by_picture_and_spares_the_encoders(tiny_pipe, corpus, tmp_path, monkeypatch):
    pairs = corpora.read(corpus)
    cache = Cache()
    plain = tune(tiny_pipe, corpus, **OPTIONS)
    assert _bytes(tune(tiny_pipe, corpus, cache=cache, **OPTIONS)) == _bytes(plain)
    mean, std = cache.posteriors(tiny_pipe, [path for path, _ in reversed(pairs)], 32)
    text = cache.conditioning(tiny_pipe, [text for _, text in reversed(pairs)])["prompt_embeds"]

    def refuse(*arguments, **options):
        raise AssertionError("an encoder was called again")

    monkeypatch.setattr(tiny_pipe.vae, "encode", refuse)
    monkeypatch.setattr(tiny_pipe, "encode_prompt", refuse)
    assert _bytes(tune(tiny_pipe, corpus, cache=cache, **OPTIONS)) == _bytes(plain)
    monkeypatch.undo()
    for number, (path, caption) in enumerate(reversed(pairs)):
        image = torch.tensor(np.asarray(Image.open(path))).permute(2, 0, 1)[None] / 127.5 - 1
        posterior = tiny_pipe.vae.encode(image).latent_dist
        torch.testing.assert_close(mean[number], posterior.mean[0] * 0.5)
        torch.testing.assert_close(std[number], posterior.std[0] * 0.5)
        torch.testing.assert_close(text[number], tiny_pipe.encode_prompt(caption, "cpu", 1, False)[0][0])


def test_caption_dropout_of_one_is_training_on_empty_captions(tiny_pipe, corpus):
    data = lora._Data(tiny_pipe, corpora.read(corpus), Cache(), live_text=False)
    rows, dropped = torch.tensor([2, 0]), torch.tensor([True, False])
    cond = data.conditioning(tiny_pipe, rows, dropped)["prompt_embeds"]
    expected = torch.cat([tiny_pipe.encode_prompt(text, "cpu", 1, False)[0] for text in ("", CAPTIONS[0])])
    torch.testing.assert_close(cond, expected)
    live = lora._Data(tiny_pipe, corpora.read(corpus), Cache(), live_text=True)
    torch.testing.assert_close(live.conditioning(tiny_pipe, rows, dropped)["prompt_embeds"], expected)


def test_min_snr_weights_follow_their_closed_form(tiny_pipe):
    timesteps = torch.tensor([0, 300, 999])
    alphas = tiny_pipe.scheduler.alphas_cumprod[timesteps]
    snr = alphas / (1 - alphas)
    weights = lora._snr_weights(tiny_pipe.scheduler, timesteps, 5.0)
    torch.testing.assert_close(weights, torch.minimum(snr, torch.tensor(5.0)) / snr, rtol=1e-4, atol=0)
    tiny_pipe.scheduler.register_to_config(prediction_type="v_prediction")
    weights = lora._snr_weights(tiny_pipe.scheduler, timesteps, 5.0)
    torch.testing.assert_close(weights, torch.minimum(snr, torch.tensor(5.0)) / (snr + 1), rtol=1e-4, atol=0)


def test_a_nan_loss_and_an_unknown_site_get_a_sentence(tiny_pipe, corpus):
    with pytest.raises(HoldfastError, match="no site 'both'"):
        tune(tiny_pipe, corpus, site="both", **OPTIONS)
    tiny_pipe.unet.conv_in.weight.data[0, 0, 0, 0] = torch.nan
    with pytest.raises(HoldfastError, match="the loss is nan at step 1 of 4; lower the learning rate"):
        tune(tiny_pipe, corpus, **OPTIONS)
