"""UCE against equation 7, written out and solved directly in float64."""

from types import SimpleNamespace

import pytest
import torch

from holdfast import families, states
from holdfast.editors import EDITORS, uce
from holdfast.errors import HoldfastError

EDITS = [
    SimpleNamespace(source="a rose", target="a blue rose"),
    SimpleNamespace(source="the king", target="bob"),
    SimpleNamespace(source="a fish", target=""),
]
TEMPLATES = ("{}", "a photo of {}", "{} at night")
PRESERVE = ["a heart", "a leaf", "the queen", "A Rose"]


def equation_7(weight, concepts, guides, preserved, lamb, edit_scale, preserve_scale):
    """W' of equation 7, term by term, in float64."""
    weight, concepts, guides, preserved = (t.double() for t in (weight, concepts, guides, preserved))
    left, right = lamb * weight, lamb * torch.eye(weight.shape[1], dtype=torch.float64)
    for c, g in zip(concepts, guides, strict=True):
        left = left + edit_scale * torch.outer(weight @ g, c)
        right = right + edit_scale * torch.outer(c, c)
    for c in preserved:
        left = left + preserve_scale * torch.outer(weight @ c, c)
        right = right + preserve_scale * torch.outer(c, c)
    return torch.linalg.solve(right, left, left=False)


def relative_error(actual, expected):
    return float((actual.double() - expected).norm() / expected.norm())


def states_of(pipe, text):
    """Text states [16, 32] straight from the text encoder, and the number of content tokens."""
    ids = pipe.tokenizer(text, padding="max_length", max_length=16, return_tensors="pt").input_ids
    return pipe.text_encoder(ids)[0][0], len(pipe.tokenizer(text).input_ids) - 2


@pytest.mark.parametrize("preserve", [[], PRESERVE])
@pytest.mark.parametrize("tokens", ["last", "tail"])
def test_edit_is_equation_7_on_every_projection(tiny_pipe, tokens, preserve):
    before = {name: tensor.clone() for name, tensor in tiny_pipe.unet.state_dict().items()}
    settings = {"lamb": 0.3, "edit_scale": 0.8, "preserve_scale": 1.5}
    delta = EDITORS["uce"](tiny_pipe, EDITS, preserve, tokens=tokens, templates=TEMPLATES, **settings)
    assert all(torch.equal(tensor, before[name]) for name, tensor in tiny_pipe.unet.state_dict().items())

    concepts, guides, preserved = [], [], []
    for template in TEMPLATES:
        words_after = len(template.split("{}")[1].split())
        for change in EDITS:
            # " at night" has one token a word in the tiny vocabulary, so the concept ends that many tokens earlier.
            (concept, n), (guide, m) = (
                states_of(tiny_pipe, template.format(t)) for t in (change.source, change.target)
            )
            n, m = n - words_after, m - words_after
            length = 1 if tokens == "last" else 16 - max(n, m)
            concepts.append(concept[n : n + length])
            guides.append(guide[m : m + length])
        for text in preserve[:3]:  # "A Rose" is a source, and sources aren't preserved
            kept, n = states_of(tiny_pipe, template.format(text))
            n -= words_after
            preserved.append(kept[n : n + 1] if tokens == "last" else kept)
    stacked = torch.cat(concepts), torch.cat(guides), torch.cat([concepts[0][:0], *preserved])

    projections = families.FAMILIES["sd"].cross_attention_projections(tiny_pipe)
    assert len(projections) == 8
    assert delta.keys() == {f"{path}.u" for path in projections} | {"shared.v"}
    for path, projection in projections.items():
        expected = equation_7(projection.weight, *stacked, **settings)
        edited = projection.weight + delta[f"{path}.u"] @ delta["shared.v"]
        assert relative_error(edited, expected) <= 1e-6
        assert relative_error(projection.weight, expected) > 1e-2


@pytest.mark.parametrize(("n", "m"), [(1, 0), (7, 0), (5, 40), (90, 0), (60, 60)])
def test_solve_is_equation_7_with_few_and_with_many_concepts(n, m):
    generator = torch.Generator().manual_seed(n + m)
    weight, concepts, guides, preserved = (
        torch.randn(rows, 48, generator=generator, dtype=torch.float64) for rows in (20, n, n, m)
    )
    left, right = uce.solve(concepts, guides, preserved, 0.5, 1.3, 0.7)
    expected = equation_7(weight, concepts, guides, preserved, 0.5, 1.3, 0.7)
    assert relative_error(weight + weight @ left @ right, expected) <= 1e-9
    assert left.shape[1] == min(n, 48)


def test_repeated_concepts_cost_no_rank():
    concept, guide = torch.randn(2, 3, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    once = uce.solve(concept, guide, concept[:0], 0.5, 4.0, 1.0)
    four = uce.solve(concept.repeat(4, 1), guide.repeat(4, 1), concept[:0], 0.5, 1.0, 1.0)
    assert four[0].shape == (48, 3)
    assert relative_error(four[0] @ four[1], once[0] @ once[1]) <= 1e-9


def test_an_edit_changes_its_source_and_spares_what_is_preserved(tiny_dir, tmp_path):
    path = tmp_path / "delta.safetensors"
    state = states.State(tiny_dir)
    key = families.FAMILIES["sd"].cross_attention_projections(state.pipe)
    layer = key[next(iter(key))]
    rose, blue, heart = (states_of(state.pipe, text)[0] for text in ("a rose", "a blue rose", "a heart"))
    wanted, kept, plain = layer(blue[3]), layer(heart[2]), layer(rose[2])
    delta = uce.edit(state.pipe, EDITS[:1], ["a heart"], tokens="last", lamb=0.01)
    states.save(
        path,
        {"rose-blue": delta},
        step="edit",
        method="uce",
        method_version=uce.VERSION,
        hyperparameters={},
        family="tiny",
        lineage="uce.0",
        model_dir=tiny_dir,
    )
    state.apply([path], "rose-blue")
    assert (layer(rose[2]) - wanted).norm() < 0.05 * (plain - wanted).norm()
    assert (layer(heart[2]) - kept).norm() < 0.05 * (plain - wanted).norm()


@pytest.mark.parametrize(
    ("change", "settings", "sentence"),
    [
        ({}, {"tokens": "first"}, "no tokens 'first'"),
        ({}, {"templates": ("no hole",)}, "exactly one {}"),
        ({}, {"templates": ("{}s",)}, "ends inside a token"),
        ({}, {"lamb": 0.0}, "lamb and edit_scale above 0"),
        ({"source": " "}, {}, "empty source"),
        ({"target": "rose " * 20}, {}, "has 20 tokens, the text encoder reads 14"),
    ],
)
def test_settings_that_can_not_work_are_sentences(tiny_pipe, change, settings, sentence):
    edits = [SimpleNamespace(**{"source": "a rose", "target": "a fish", **change})]
    with pytest.raises(HoldfastError, match=sentence):
        uce.edit(tiny_pipe, edits, [], **settings)
