"""The starting noise of every picture: a function of its probe and seed and of nothing else."""

import hashlib


def generator_seed(probe_id, seed):
    """63-bit seed of the generator of one picture, from the SHA-256 of its probe's id and its seed.

    `torch.Generator("cpu").manual_seed(generator_seed(probe, seed))` handed to an ordinary diffusers pipeline draws
    the same noise, so that any picture of a study can be made again outside it.
    """
    digest = hashlib.sha256(f"{probe_id}\n{int(seed)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def draw(probe_id, seed, shape):
    """Standard normal noise of one picture, float32 on the CPU.

    Every state of a study sees the same noise for the same probe and seed, whatever its batch size, shard or
    device: comparisons are paired by it.

    Args:
        probe_id: the probe's id, unique in its table of edits.
        seed: number of the picture within the probe, 0, 1, ...
        shape: of one latent, (C, h, w).
    """
    import torch

    generator = torch.Generator("cpu").manual_seed(generator_seed(probe_id, seed))
    return torch.randn(tuple(shape), generator=generator, dtype=torch.float32)


def digest(noise):
    """128-bit xxh3 of a noise tensor's bytes, in hexadecimal; recorded with the samples that were made from it."""
    import xxhash

    return xxhash.xxh3_128_hexdigest(noise.detach().cpu().contiguous().numpy())
