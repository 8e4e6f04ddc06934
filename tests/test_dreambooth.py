"""DreamBooth: the class' pictures come from the model itself, and weigh as they should."""

import pytest
import torch

from holdfast import families, sampling
from holdfast.errors import HoldfastError
from holdfast.tuners import TUNERS, dreambooth, loop
from holdfast.tuners.cache import Cache
from holdfast.tuners.objective import Data, Objective, corpus_data
from tests import tuning

tune = TUNERS["dreambooth"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return tuning.write_corpus(tmp_path_factory.mktemp("dreambooth") / "corpus")


def test_the_class_pictures_are_the_models_own(tiny_pipe):
    pictures = dreambooth.draw_class(tiny_pipe, "a fish", 3, 7, tuning.SAMPLING)
    noise = torch.stack([torch.randn(8, 8, 8, generator=loop.generator(7, "class", n)) for n in range(3)])
    latents = sampling.sample(tiny_pipe, ["a fish"] * 3, noise, **tuning.SAMPLING)
    assert (pictures == sampling.decode(tiny_pipe, latents, 2)).all()
    assert pictures.shape == (3, 32, 32, 3) and (pictures[0] != pictures[1]).any()


@pytest.mark.parametrize("kind", ["sd", "flux"])
def test_the_loss_is_the_corpus_plus_the_weighted_prior(request, corpus, kind):
    """Each half computed alone, from the draws of the whole step, by the family's own functions."""
    pipe = request.getfixturevalue("tiny_pipe" if kind == "sd" else "tiny_flux")
    family, cache = families.kind_of(pipe), Cache()
    pictures = dreambooth.draw_class(pipe, "a fish", 2, 0, tuning.SAMPLING)
    data = corpus_data(pipe, corpus, cache, live_text=False, text="a zlork plum")
    prior = Data(pipe, pictures, ["a fish"] * 2, cache, live_text=False)
    options = {"seed": 5, "batch_size": 2, "prior": prior, "prior_weight": 0.3}
    generator, halves = loop.generator(5, "step", 4), []
    for source, purpose, text in [(data, "epoch", "a zlork plum"), (prior, "prior epoch", "a fish")]:
        rows = loop.batch_of(4, len(source), 2, 5, purpose)
        latents = source.mean[rows] + source.std[rows] * torch.randn(2, 8, 8, 8, generator=generator)
        noise = torch.randn(2, 8, 8, 8, generator=generator)
        timesteps = family.draw_timesteps(pipe, 2, generator)
        torch.rand(2, generator=generator)
        noisy = family.add_noise(pipe, latents, noise, timesteps)
        prediction = family.predict(pipe, noisy, timesteps, family.encode_prompts(pipe, [text] * 2))
        halves.append((prediction - family.training_targets(pipe, latents, noise, timesteps)).square().mean())
    (loss,) = Objective(pipe, data, **options).losses(4)
    torch.testing.assert_close(loss, halves[0] + 0.3 * halves[1])
    parts = list(Objective(pipe, data, **options | {"batch_size": 1, "accumulate": 2}).losses(4))
    assert len(parts) == 2
    torch.testing.assert_close(sum(parts), loss)


def test_without_a_prior_it_is_full_fine_tuning_with_the_instance_prompt(tiny_pipe, corpus, tmp_path):
    options = tuning.OPTIONS | {"steps": 2, "learning_rate": 1e-4}
    ours = tune(tiny_pipe, corpus, instance_prompt="a zlork plum", prior_weight=0, **options)
    renamed = tuning.write_corpus(tmp_path / "corpus", ["a zlork plum"] * 3)
    theirs = TUNERS["full"](tiny_pipe, renamed, accumulate=1, **options)
    assert tuning.as_bytes(ours) == tuning.as_bytes(theirs)


def test_a_prior_that_cannot_be_drawn_gets_a_sentence(tiny_pipe, corpus):
    with pytest.raises(HoldfastError, match="needs class_prompt.*or set prior_weight to 0"):
        tune(tiny_pipe, corpus, sampling=tuning.SAMPLING, **tuning.OPTIONS)
