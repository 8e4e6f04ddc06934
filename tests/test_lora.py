"""LoRA against plain PyTorch, min-SNR weights, and a delta that makes a state fit its corpus."""

import numpy as np
import pytest
import torch
from PIL import Image

from holdfast import corpora, families, states
from holdfast.families import sd
from holdfast.tuners import TUNERS, loop, lora
from holdfast.tuners.cache import Cache
from holdfast.tuners.objective import Objective, corpus_data
from tests import tiny, tuning
from tests.tuning import CAPTIONS, OPTIONS

tune = TUNERS["lora"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return tuning.write_corpus(tmp_path_factory.mktemp("lora") / "corpus")


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


def test_tuning_fits_the_corpus_and_its_delta_applies(tiny_pipe, tiny_dir, corpus, tmp_path):
    settings = {"rank": 4, "alpha": 8}
    tuned = tune(tiny_pipe, corpus, **settings, **OPTIONS | {"steps": 100, "batch_size": 3})
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
    data = corpus_data(tiny_pipe, corpus, Cache(), live_text=False)

    def loss(pipe):
        objective = Objective(pipe, data, seed=99, batch_size=60)
        with torch.no_grad():
            return sum(objective.losses(1)).item()

    assert loss(states.load(tiny_dir, [path])) < 0.95 * loss(tiny_pipe)


def test_min_snr_weights_follow_their_closed_form(tiny_pipe):
    timesteps = torch.tensor([0, 300, 999])
    alphas = tiny_pipe.scheduler.alphas_cumprod[timesteps]
    snr = alphas / (1 - alphas)
    weights = sd.loss_weights(tiny_pipe, timesteps, snr_gamma=5.0)
    torch.testing.assert_close(weights, torch.minimum(snr, torch.tensor(5.0)) / snr, rtol=1e-4, atol=0)
    tiny_pipe.scheduler.register_to_config(prediction_type="v_prediction")
    weights = sd.loss_weights(tiny_pipe, timesteps, snr_gamma=5.0)
    torch.testing.assert_close(weights, torch.minimum(snr, torch.tensor(5.0)) / (snr + 1), rtol=1e-4, atol=0)
