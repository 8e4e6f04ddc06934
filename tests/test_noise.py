"""Noise: a function of probe and seed alone."""

import torch

from holdfast import noise

SHAPE = (8, 8, 8)


def test_noise_depends_on_probe_and_seed_and_on_nothing_else():
    first = noise.draw("rose-blue-e0", 3, SHAPE)
    torch.manual_seed(1)
    noise.draw("another", 0, SHAPE)
    assert torch.equal(noise.draw("rose-blue-e0", 3, SHAPE), first)
    digests = {noise.digest(noise.draw(probe, seed, SHAPE)) for probe in ("a", "b", "a\n1") for seed in range(20)}
    assert len(digests) == 60


def test_the_seed_of_a_picture_never_changes():
    # From sha256sum, not from this code: a study that is extended later must meet the same noise.
    # printf 'rose-blue-e0\n3' | sha256sum -> first 16 hexadecimal digits, halved
    assert noise.generator_seed("rose-blue-e0", 3) == 0x075D1F2A8D159C5F >> 1


def test_noise_is_standard_normal():
    noises = torch.stack([noise.draw("p", seed, SHAPE) for seed in range(400)])
    assert noises.dtype == torch.float32
    assert abs(noises.mean()) < 0.01
    assert abs(noises.std() - 1) < 0.01
    neighbours = (noises[1:] * noises[:-1]).mean()
    assert abs(neighbours) < 0.01
