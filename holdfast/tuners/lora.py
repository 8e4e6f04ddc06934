"""Low-rank adaptation of a diffusion model's attention (Hu et al. 2021, arXiv 2106.09685).

Equal in method to `examples/text_to_image/train_text_to_image_lora.py` of diffusers: query, key, value and output
projections of every attention layer get `W' x = W x + alpha / rank * up (down x)` (eq. 3), down drawn from
N(0, 1/rank^2) and up zero at the start; the loss is the mean squared error of the model's prediction against noise or
velocity, as the scheduler says, at uniformly drawn timesteps.
"""

import contextlib
import json

from holdfast import corpora, families
from holdfast.errors import HoldfastError
from holdfast.tuners import loop
from holdfast.tuners.cache import Cache, digest, fingerprint

VERSION = 1

# Query, key, value and output projections, by their names in diffusers' denoisers and in transformers' text encoders.
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0", "q_proj", "k_proj", "v_proj", "out_proj")


def tune(
    pipe,
    corpus_dir,
    *,
    seed,
    steps=500,
    batch_size=4,
    learning_rate=1e-4,
    rank=4,
    alpha=4,
    snapshots=None,
    site="denoiser",
    caption_dropout=0.0,
    snr_gamma=None,
    checkpoint_dir=None,
    checkpoint_every=100,
    cache=None,
    progress=None,
):
    """Train a LoRA on a corpus and return its factors; the pipeline is left as it was, bit for bit.

    Args:
        pipe: pipeline of a family whose modules take no gradients (as `families.load` and `states` give it).
        corpus_dir: see `corpora.read`.
        seed: of initialisation, order, noise and timesteps.
        steps, batch_size, learning_rate: optimiser steps, pictures per step, AdamW's constant rate.
        rank, alpha: the update is `alpha / rank * up @ down`; alpha belongs in the header of whatever is saved.
        snapshots: steps at which the factors are kept, None for the last one only. A snapshot equals the end of a
            shorter run.
        site: `denoiser` or `text_encoder`.
        caption_dropout: probability that a picture's caption is replaced by the empty one.
        snr_gamma: clamp of min-SNR loss weights (Hang et al. 2023, arXiv 2303.09556, section 3.4), None for equal
            weights.
        checkpoint_dir, checkpoint_every, progress: see `loop.train`.
        cache: a `Cache` shared by the tunings of one job, or None.

    Returns:
        {step: {"{module path}.down": [rank, in], "{module path}.up": [out, rank]}}, float32 on the CPU; a module path
        begins with the pipeline's component (`unet. ... .attn1.to_q`).

    Raises:
        HoldfastError: a broken corpus, an unknown site, snapshots that don't fit, or a loss that is NaN.
    """
    family = families.kind_of(pipe)
    ((component, module),) = family.site_modules(pipe, site).items()
    snapshots = loop.check_schedule(steps, snapshots)
    pairs = corpora.read(corpus_dir)
    data = _Data(pipe, pairs, cache or Cache(), live_text=site == "text_encoder")
    settings = {
        "version": VERSION, "seed": seed, "steps": steps, "batch_size": batch_size, "learning_rate": learning_rate,
        "rank": rank, "alpha": alpha, "snapshots": snapshots, "site": site, "caption_dropout": caption_dropout,
        "snr_gamma": snr_gamma, "data": data.digest(),
        "weights": [fingerprint(m) for at in sorted({site, "denoiser"}) for m in family.site_modules(pipe, at).values()],
    }  # fmt: skip

    def loss_of(step):
        return _loss(
            pipe,
            data,
            rows=loop.batch_of(step, len(pairs), batch_size, seed),
            generator=loop.generator(seed, "step", step),
            caption_dropout=caption_dropout,
            snr_gamma=snr_gamma,
        )

    with _resting(pipe, data.idle), _adapter(module, component, rank, alpha, seed) as parameters:
        return loop.train(
            parameters,
            loss_of,
            steps=steps,
            learning_rate=learning_rate,
            snapshots=snapshots,
            device=module.device,
            dtype=module.dtype,
            identity=json.dumps(settings, sort_keys=True),
            checkpoint_dir=checkpoint_dir,
            checkpoint_every=checkpoint_every,
            progress=progress,
        )


class _Data:
    """A corpus as the loss reads it: latent posteriors; captions encoded once or, while their encoder learns, live.

    Attributes:
        idle: names of the pipeline's components that training does not need.
    """

    def __init__(self, pipe, pairs, cache, live_text):
        # Asked once: pipelines and diffusers' models look through all their modules for it.
        (denoiser,) = families.kind_of(pipe).site_modules(pipe, "denoiser").values()
        self.device, self.dtype = denoiser.device, denoiser.dtype
        size = families.kind_of(pipe).latent_shape(pipe)[-1] * pipe.vae_scale_factor
        self.mean, self.std = cache.posteriors(pipe, [path for path, _ in pairs], size)
        self.texts = [text for _, text in pairs]
        self.encoded = None if live_text else cache.conditioning(pipe, [*self.texts, ""])
        # A pipeline's device is its first component's, the VAE's: encoding text in the steps needs that to stay.
        self.idle = () if live_text else ("vae", "text_encoder")

    def conditioning(self, pipe, rows, dropped):
        """Text conditioning of some rows, the empty text's where dropped."""
        import torch

        if self.encoded is None:
            texts = ["" if drop else self.texts[row] for row, drop in zip(rows.tolist(), dropped.tolist(), strict=True)]
            return families.kind_of(pipe).encode_prompts(pipe, texts)
        rows = torch.where(dropped, len(self.texts), rows)
        return {name: tensor[rows].to(self.device) for name, tensor in self.encoded.items()}

    def digest(self):
        return digest({"mean": self.mean, "std": self.std, **(self.encoded or {})}) + json.dumps(self.texts)


def _loss(pipe, data, rows, generator, caption_dropout, snr_gamma):
    """Mean squared error of the prediction at one batch, every random number from `generator` on the CPU."""
    import torch

    family = families.kind_of(pipe)
    mean, std = data.mean[rows], data.std[rows]
    latents = mean + std * torch.randn(mean.shape, generator=generator)
    noise = torch.randn(mean.shape, generator=generator)
    timesteps = torch.randint(pipe.scheduler.config.num_train_timesteps, (len(rows),), generator=generator)
    dropped = torch.rand(len(rows), generator=generator) < caption_dropout
    latents, noise, timesteps = (tensor.to(data.device) for tensor in (latents, noise, timesteps))
    noisy = family.add_noise(pipe, latents, noise, timesteps).to(data.dtype)
    target = family.training_targets(pipe, latents, noise, timesteps)
    prediction = family.predict(pipe, noisy, timesteps, data.conditioning(pipe, rows, dropped))
    error = torch.nn.functional.mse_loss(prediction.float(), target, reduction="none").mean(dim=(1, 2, 3))
    if snr_gamma is not None:
        error = error * _snr_weights(pipe.scheduler, timesteps, snr_gamma)
    return error.mean()


def _snr_weights(scheduler, timesteps, gamma):
    """Loss weights min(SNR, gamma) / SNR for noise prediction, min(SNR, gamma) / (SNR + 1) for velocity."""
    from diffusers.training_utils import compute_snr

    snr = compute_snr(scheduler, timesteps)
    shift = {"epsilon": 0, "v_prediction": 1}.get(scheduler.config.prediction_type)
    if shift is None:
        raise HoldfastError("min-SNR weights are for models that predict noise or velocity; set snr_gamma to null.")
    return snr.clamp(max=gamma) / (snr + shift)


@contextlib.contextmanager
def _adapter(module, component, rank, alpha, seed):
    """Put peft's LoRA layers around a module's attention projections for the length of the block.

    Yields:
        `{component}.{path}.down|up` -> trainable float32 Parameter.
    """
    import torch
    from peft import LoraConfig, inject_adapter_in_model

    training = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
    if training:
        raise HoldfastError(f"The model to tune takes gradients already ({training[0]}); load it with families.load.")
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(ATTENTION), init_lora_weights="gaussian")
    before = set(vars(module))
    try:
        # peft draws its initial weights from the global generator, which is nobody's business to move.
        with torch.random.fork_rng(devices=[]):
            inject_adapter_in_model(config, module)
        generator = loop.generator(seed, "initialisation")
        parameters = {}
        for name, layer in _adapted(module):
            down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
            down.data = (torch.randn(down.shape, generator=generator) / rank).to(down.device)
            up.data = torch.zeros_like(up, dtype=torch.float32)
            parameters[f"{component}.{name}.down"], parameters[f"{component}.{name}.up"] = down, up
        yield parameters
    finally:
        for name, layer in _adapted(module):
            parent, _, child = name.rpartition(".")
            setattr(module.get_submodule(parent), child, layer.get_base_layer())
        for attribute in set(vars(module)) - before:
            delattr(module, attribute)
        module.requires_grad_(False)


def _adapted(module):
    """(path, layer) of every layer that peft wrapped."""
    from peft.tuners.lora import LoraLayer

    return [(name, layer) for name, layer in module.named_modules() if isinstance(layer, LoraLayer)]


@contextlib.contextmanager
def _resting(pipe, components):
    """Keep components that training does not need out of the device's memory for the length of the block."""
    moved = {name: getattr(pipe, name).device for name in components}
    try:
        for name in moved:
            getattr(pipe, name).to("cpu")
        yield
    finally:
        for name, device in moved.items():
            getattr(pipe, name).to(device)
