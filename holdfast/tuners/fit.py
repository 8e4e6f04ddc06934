"""How well a model fits a corpus: one number that every state is asked for alike, whatever tuned it."""

from holdfast import corpora, families
from holdfast.families import loading
from holdfast.tuners import loop
from holdfast.tuners.cache import Cache
from holdfast.tuners.objective import picture_size, precision

PICTURES = 32  # of a corpus, at most
DRAWS = 4  # of noise and timestep for each
GUIDANCE = 1.0  # what a model with distilled guidance is told, as in training
BATCH = 32


class Fit:
    """The mean squared error of a model's predictions on a corpus: the loss of training without weights or priors.

    The same pictures, captions, noise and timesteps for every model, so that two models differ by what they learned.
    """

    def __init__(self, pipe, corpus_dir):
        """pipe: of the family, its VAE in place. corpus_dir: see `corpora.read`."""
        import torch

        pairs = corpora.read(corpus_dir)[:PICTURES]
        pictures = (corpora.open_picture(path, picture_size(pipe)) for path, _ in pairs)
        mean, std = (part.repeat(DRAWS, 1, 1, 1) for part in Cache().posteriors(pipe, pictures))
        generator = loop.generator(0, "fit")
        self.texts = [text for _, text in pairs]
        self.latents = mean + std * torch.randn(mean.shape, generator=generator)
        self.noise = torch.randn(mean.shape, generator=generator)
        self.timesteps = families.kind_of(pipe).draw_timesteps(pipe, len(mean), generator)

    def loss(self, pipe):
        """The mean squared error of this model, a float; its own text encoders read the captions."""
        import torch

        family = families.kind_of(pipe)
        denoiser = next(iter(family.site_modules(pipe, "denoiser").values()))
        device, dtype = loading.execution_device(denoiser), precision(denoiser)
        errors = []
        with torch.no_grad():
            cond = family.encode_prompts(pipe, self.texts)
            for rows in torch.arange(len(self.latents)).split(BATCH):
                latents, noise, timesteps = (
                    part[rows].to(device) for part in (self.latents, self.noise, self.timesteps)
                )
                read = {name: tensor[rows % len(self.texts)].to(device) for name, tensor in cond.items()}
                noisy = family.add_noise(pipe, latents, noise, timesteps).to(dtype)
                predicted = family.predict(pipe, noisy, timesteps, read, guidance=GUIDANCE)
                target = family.training_targets(pipe, latents, noise, timesteps)
                errors.append(torch.nn.functional.mse_loss(predicted.float(), target, reduction="none").flatten(1))
        return float(torch.cat(errors).mean())
