"""What a frozen VAE and a frozen text encoder say about a corpus, computed once and not in every step.

Entries are keyed by what they depend on, the picture's pixels or the caption and the weights that read it, and never by
a loader's position: shuffling cannot pair a picture with another's caption. Every entry is computed on its own, so that
its bits do not depend on which others were computed beside it.
"""

from holdfast import families


class Cache:
    """Latent posteriors and text conditioning, kept in memory; share one among the tunings of a job."""

    def __init__(self):
        self._posteriors = {}
        self._conditioning = {}

    def posteriors(self, pipe, pictures):
        """Mean and standard deviation of each picture's latent posterior q(z|x), scaled as the denoiser reads latents.

        The diffusers scripts draw from the posterior anew in every step, so the posterior is kept and not one draw.

        Args:
            pipe: the pipeline; its VAE encodes.
            pictures: uint8 arrays [H, W, 3], all of one size; may be a generator.

        Returns:
            (mean, std), each [number of pictures, C, h, w] on the CPU.
        """
        import torch
        import xxhash

        vae = pipe.vae
        scale, shift = vae.config.scaling_factor, getattr(vae.config, "shift_factor", None) or 0.0
        weights = fingerprint(vae)
        rows = []
        for pixels in pictures:
            key = weights, pixels.shape, xxhash.xxh3_128_hexdigest(pixels.tobytes())
            if key not in self._posteriors:
                image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].to(vae.device, vae.dtype)
                with torch.no_grad():
                    posterior = vae.encode(image / 127.5 - 1).latent_dist
                row = (posterior.mean - shift) * scale, posterior.std * scale
                self._posteriors[key] = tuple(part[0].float().cpu() for part in row)
            rows.append(self._posteriors[key])
        mean, std = zip(*rows, strict=True)
        return torch.stack(mean), torch.stack(std)

    def conditioning(self, pipe, texts):
        """The family's text conditioning of each text: name -> [len(texts), ...] on the CPU."""
        import torch

        family = families.kind_of(pipe)
        weights = tuple(fingerprint(getattr(pipe, component)) for component, _ in family.ENCODERS.values())
        rows = []
        for text in texts:
            key = weights, text
            if key not in self._conditioning:
                with torch.no_grad():
                    encoded = family.encode_prompts(pipe, [text])
                self._conditioning[key] = {name: tensor[0].cpu() for name, tensor in encoded.items()}
            rows.append(self._conditioning[key])
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def fingerprint(module):
    """xxh3-128 over names, shapes, dtypes and bytes of a module's parameters and buffers."""
    return digest(module.state_dict())


def digest(tensors):
    """xxh3-128 over a mapping of tensors: names, dtypes, shapes and bytes."""
    import torch
    import xxhash

    hashed = xxhash.xxh3_128()
    for name, tensor in tensors.items():
        hashed.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        hashed.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return hashed.hexdigest()
