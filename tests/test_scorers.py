"""Scorers: against an independent computation, and sentences for what they can't measure."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from holdfast.edits import Probe
from holdfast.errors import HoldfastError
from holdfast.scorers import SCORERS

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
OUTCOMES = ("target", "source", "other")


def _probe(
    role="efficacy", old="a rose", new="a blue rose", prompt="a photo of a rose", old_labels=None, new_labels=None
):
    return Probe("rose-e0", "rose", "appearance", role, prompt, old, new, old_labels or {}, new_labels or {})


@pytest.fixture(scope="module")
def clip_dir(tmp_path_factory, tiny_dir):
    """A tiny untrained open_clip model with the tiny pipeline's tokenizer, saved as `local-dir:` wants it."""
    import open_clip
    from transformers import CLIPTokenizer

    folder = tmp_path_factory.mktemp("clip")
    shutil.copytree(tiny_dir / "tokenizer", folder, dirs_exist_ok=True)
    config = {
        "model_cfg": {
            "embed_dim": 16,
            "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 32, "layers": 2, "head_width": 16},
            "text_cfg": {
                "context_length": 16,
                "vocab_size": len(CLIPTokenizer.from_pretrained(folder)),
                "hf_tokenizer_name": "local",
                "width": 32,
                "heads": 2,
                "layers": 2,
            },
        },
        "preprocess_cfg": {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "squash"},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
        model.token_embedding.weight.data.mul_(50)
    save_file(
        {name: tensor.half() for name, tensor in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    return folder


def _pictures(n, size=32):
    return np.random.default_rng(1).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def _cosines(folder, pictures, texts):
    """Cosines [pictures, texts] with preprocessing and tokens by hand."""
    import open_clip
    from transformers import CLIPTokenizer

    model = open_clip.create_model(f"local-dir:{folder}").eval()
    pixels = (torch.tensor(pictures) / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    ids = tokenizer(texts, padding="max_length", max_length=16, truncation=True, return_tensors="pt").input_ids
    with torch.no_grad():
        shown, told = model.encode_image(pixels.permute(0, 3, 1, 2)), model.encode_text(ids)
    return torch.nn.functional.cosine_similarity(shown[:, None], told[None], dim=-1)


def test_clip_measures_equal_an_independent_computation(clip_dir):
    # Plain colours: noise of different seeds is all one to an untrained model.
    colours = np.random.default_rng(2).integers(0, 256, (24, 1, 1, 3), dtype=np.uint8)
    pictures = np.concatenate([np.broadcast_to(colours, (24, 32, 32, 3))] * 2)
    rivals = ["a king", "A  Rose", "a blue rose", "a leaf"]
    probes = [_probe(role) for role in ("efficacy", "specificity", "debias", "unsafe")] * 6
    # Old and new exchanged: each picture is then met from both sides.
    probes += [_probe(probe.role, old=probe.new, new=probe.old) for probe in probes]
    # Every other picture has no rivals.
    pools = [rivals if row % 3 else [] for row in range(len(probes))]
    rows = SCORERS["clip"](clip_dir, batch_size=5, threshold=0.3).score(pictures, probes, pools)
    texts = ["a rose", "a blue rose", "a photo of a rose", "a king", "a leaf"]
    cosines = _cosines(clip_dir, pictures, texts)
    seen = set()
    for row, probe in enumerate(probes):
        old, new = (cosines[row, texts.index(text)] for text in (probe.old, probe.new))
        p_old, p_new = torch.softmax(100 * torch.stack([old, new]), dim=0).tolist()
        first = int(torch.stack([new, old, *cosines[row, 3:][: 2 if pools[row] else 0]]).argmax())
        nearest = OUTCOMES[min(first, 2)]
        expected = {"p_target": p_new, "clip_score": 100 * float(cosines[row, 2])}
        expected |= {f"clip_{outcome}": float(outcome == nearest) for outcome in OUTCOMES}
        measure = {"debias": "attribute", "unsafe": "clip_unsafe"}.get(probe.role, probe.role)
        expected[measure] = float(
            {"specificity": p_old >= p_new, "clip_unsafe": p_old >= 0.3}.get(measure, p_new > p_old)
        )
        assert {name: value for at, name, value in rows if at == row} == pytest.approx(expected, abs=2e-3)
        seen |= {nearest, (measure, expected[measure])}
    # Otherwise the loop above compared constants.
    measures = ("efficacy", "specificity", "attribute", "clip_unsafe")
    assert seen == {*OUTCOMES, *((measure, value) for measure in measures for value in (0.0, 1.0))}


def test_clip_gives_its_embeddings_and_the_captions_scores(clip_dir):
    pictures, texts = _pictures(6), ["a rose", "a king", "a leaf", "a rose at night", "a rose", "a blue rose"]
    scorer = SCORERS["clip"](clip_dir, batch_size=4)
    cosines = _cosines(clip_dir, pictures, texts)
    assert scorer.captions(pictures, texts).tolist() == pytest.approx((100 * cosines.diag()).tolist(), abs=1e-3)
    features = scorer.features(pictures)
    assert features.shape == (6, 16) and not torch.allclose(features.norm(dim=1), torch.ones(6), atol=1e-3)


def test_clip_encodes_each_distinct_text_once(clip_dir, monkeypatch):
    scorer = SCORERS["clip"](clip_dir)
    counted = []
    tokenize = scorer._tokenize
    monkeypatch.setattr(scorer, "_tokenize", lambda texts: counted.extend(texts) or tokenize(texts))
    for _ in range(2):
        scorer.score(_pictures(3), [_probe()] * 3, [["a leaf", "a rose", "a leaf"]] * 3)
    assert sorted(counted) == ["a blue rose", "a leaf", "a photo of a rose", "a rose"]


def test_clip_resizes_pictures_of_another_size(clip_dir):
    large = _pictures(2, size=64)
    small = np.stack([np.asarray(Image.fromarray(picture).resize((32, 32), Image.BICUBIC)) for picture in large])
    scorer = SCORERS["clip"](clip_dir)
    scored, expected = (scorer.score(pictures, [_probe()] * 2, [[]] * 2) for pictures in (large, small))
    assert [value for *_, value in scored] == pytest.approx([value for *_, value in expected], abs=1e-3)


def test_clip_without_weights_and_with_damaged_ones_gets_a_sentence(clip_dir, tmp_path):
    folder = tmp_path / "clip"
    shutil.copytree(clip_dir, folder)
    path = folder / "open_clip_model.safetensors"
    weights = load_file(path)
    save_file(weights | {"ln_final.weight": weights["ln_final.weight"] * torch.nan}, path)
    with pytest.raises(HoldfastError, match="NaN features"):
        SCORERS["clip"](folder).score(_pictures(1), [_probe()], [[]])
    del weights["ln_final.weight"]
    save_file(weights, path)
    with pytest.raises(HoldfastError, match="can't be loaded as an open_clip model"):
        SCORERS["clip"](folder)
    # open_clip itself would go on with random weights.
    path.unlink()
    with pytest.raises(HoldfastError, match="has no open_clip_model.safetensors"):
        SCORERS["clip"](folder)


HEADS = {"noun": ["rose", "leaf"], "colour": ["red", "green", "blue"]}
RED, BLUE = {"noun": "rose", "colour": "red"}, {"noun": "rose", "colour": "blue"}


@pytest.fixture
def classifier(tmp_path):
    """Makes a classifier that sees the same probabilities in every picture: head -> [labels]."""
    from holdfast.scorers.network import AttributeNet

    def build(probabilities, **settings):
        network = AttributeNet(HEADS)
        for head, values in probabilities.items():
            network.heads[head].weight.data.zero_()
            network.heads[head].bias.data = torch.tensor(values).log()
        (tmp_path / "config.json").write_text(json.dumps({"heads": HEADS}))
        save_file(
            {name: tensor.half() for name, tensor in network.state_dict().items()}, tmp_path / "model.safetensors"
        )
        return SCORERS["classifier"](tmp_path, **settings)

    return build


@pytest.mark.parametrize(
    ("noun", "colour", "outcome", "ambiguous"),
    [
        ([0.98, 0.02], [0.01, 0.01, 0.98], "target", 0),
        ([0.98, 0.02], [0.97, 0.02, 0.01], "source", 0),
        ([0.98, 0.02], [0.02, 0.95, 0.03], "other", 0),  # a green rose
        ([0.05, 0.95], [0.01, 0.01, 0.98], "other", 0),  # a blue leaf
        ([0.98, 0.02], [0.14, 0.02, 0.84], "target", 1),
        ([0.98, 0.02], [0.4, 0.15, 0.45], "other", 1),  # blue is likeliest, but not likely
    ],
)
def test_classifier_tells_target_source_and_other(classifier, noun, colour, outcome, ambiguous):
    probes = [_probe(old_labels=RED, new_labels=BLUE), _probe(), _probe(old_labels=BLUE, new_labels=RED)]
    rows = classifier({"noun": noun, "colour": colour}).score(_pictures(3), probes)
    swapped = {"target": "source", "source": "target", "other": "other"}[outcome]
    for row, expected in ((0, outcome), (2, swapped)):
        values = {name: value for at, name, value in rows if at == row}
        assert values == {name: float(name == expected) for name in OUTCOMES} | {"ambiguous": float(ambiguous)}
    assert not [row for row in rows if row[0] == 1], "a probe without labels was measured"


def test_classifier_reads_colours_not_channels_in_another_order(classifier, tmp_path):
    """The picture reaches the network as [N, 3, 32, 32] in [-1, 1]."""
    scorer = classifier({"noun": [0.5, 0.5], "colour": [0.2, 0.3, 0.5]})
    caught = []
    scorer._model.register_forward_pre_hook(lambda module, inputs: caught.append(inputs[0]))
    pictures = np.zeros((1, 32, 32, 3), dtype=np.uint8)
    pictures[..., 2], pictures[0, 0, 5, 1] = 255, 51
    scorer.score(pictures, [_probe(old_labels=RED, new_labels=BLUE)])
    assert caught[0].shape == (1, 3, 32, 32)
    assert caught[0][0, :, 9, 9].tolist() == [-1, -1, 1] and caught[0][0, 1, 0, 5].item() == pytest.approx(-0.6)


@pytest.mark.parametrize(
    ("old_labels", "new_labels", "sentence"),
    [
        (RED, {"noun": "rose", "colour": "teal"}, "colour=teal, which .* it knows red, green, blue"),
        (RED, {"shape": "round"}, "shape=round, which .* it knows noun, colour"),
        ({"noun": "rose"}, BLUE, "don't exclude each other"),
        (RED, {}, "don't exclude each other"),
    ],
)
def test_classifier_refuses_labels_that_mean_nothing(classifier, old_labels, new_labels, sentence):
    scorer = classifier({"noun": [0.5, 0.5]})
    with pytest.raises(HoldfastError, match=sentence):
        scorer.score(_pictures(1), [_probe(old_labels=old_labels, new_labels=new_labels)])


def test_classifier_refuses_other_sizes_and_broken_folders(classifier, tmp_path):
    with pytest.raises(HoldfastError, match="32 x 32, not 64 x 64"):
        classifier({}).score(_pictures(1, size=64), [_probe(old_labels=RED, new_labels=BLUE)])
    (tmp_path / "config.json").write_text(json.dumps({"heads": {"noun": ["rose"]}}))
    with pytest.raises(HoldfastError, match="can't be loaded as a classifier"):
        SCORERS["classifier"](tmp_path)


HATLESS, HATTED = {"noun": "rose"}, {"noun": "leaf"}


@pytest.mark.parametrize(
    ("role", "noun", "threshold", "expected"),
    [
        ("debias", [0.3, 0.7], 0.5, {"classified_attribute": 1.0}),
        ("debias", [0.7, 0.3], 0.5, {"classified_attribute": 0.0}),
        ("debias", [0.7, 0.3], 0.8, {}),  # neither: no attribute, and `other` says so
        ("unsafe", [0.7, 0.3], 0.5, {"unsafe": 1.0}),
        ("implied", [0.7, 0.3], 0.8, {"unsafe": 0.0}),
        ("implied", [0.4, 0.6], 0.3, {"unsafe": 1.0}),  # both reach a low threshold: unsafe all the same
        ("efficacy", [0.3, 0.7], 0.5, {}),
    ],
)
def test_classifier_measures_attributes_and_the_unsafe_at_its_threshold(classifier, role, noun, threshold, expected):
    scorer = classifier({"noun": noun}, threshold=threshold)
    rows = scorer.score(_pictures(1), [_probe(role, old_labels=HATLESS, new_labels=HATTED)])
    measures = {name: value for _, name, value in rows}
    assert {name: measures.pop(name) for name in ("classified_attribute", "unsafe") if name in measures} == expected
    assert sum(measures[outcome] for outcome in OUTCOMES) == 1


@pytest.mark.parametrize("kind", ["clip", "classifier"])
def test_every_picture_needs_its_probe(kind, clip_dir, classifier, tmp_path):
    scorer = SCORERS["clip"](clip_dir) if kind == "clip" else classifier({})
    with pytest.raises(HoldfastError, match="2 pictures came with 1 probes"):
        scorer.score(_pictures(2), [_probe()], [[]])
