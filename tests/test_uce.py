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

    projections = families.FAMILIES["sd"].text_projections(tiny_pipe)
    assert len(projections) == 8
    assert delta.keys() == {f"{path}.u" for path in projections} | {"shared.v"}
    for path, (projection, _) in projections.items():
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
    layer, _ = next(iter(families.FAMILIES["sd"].text_projections(state.pipe).values()))
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


PATHS = ("transformer.context_embedder", "transformer.time_text_embed.text_embedder.linear_1")


def flux_states(pipe, text):
    """T5 states [16, 24] and CLIP's pooled state [1, 32] straight from the encoders, and T5's number of tokens."""
    ids = pipe.tokenizer_2(text, padding="max_length", max_length=16, return_tensors="pt").input_ids
    clip = pipe.tokenizer(text, padding="max_length", max_length=16, truncation=True, return_tensors="pt").input_ids
    count = len(pipe.tokenizer_2(text).input_ids) - 1
    return pipe.text_encoder_2(ids)[0][0], pipe.text_encoder(clip).pooler_output, count


def flux_rows(pipe, tokens, preserve, empty=0):
    """(concepts, guides, preserved) of EDITS in TEMPLATES for both projections, by hand."""
    rows = {path: ([], [], []) for path in PATHS}
    for template in TEMPLATES:
        words_after = len(template.split("{}")[1].split())
        for change in EDITS:
            (concept, pooled, n), (guide, pooled_guide, m) = (
                flux_states(pipe, template.format(text)) for text in (change.source, change.target)
            )
            n, m = (count - words_after - 1 for count in (n, m))
            m = empty if m < 0 else m
            length = 1 if tokens == "last" else 16 - max(n, m)
            for known, wanted, path in (
                (concept[n : n + length], guide[m : m + length], PATHS[0]),
                (pooled, pooled_guide, PATHS[1]),
            ):
                rows[path][0].append(known)
                rows[path][1].append(wanted)
        for text in preserve[:3]:
            kept, pooled, n = flux_states(pipe, template.format(text))
            n -= words_after + 1
            rows[PATHS[0]][2].append(kept[n : n + 1] if tokens == "last" else kept)
            rows[PATHS[1]][2].append(pooled)
    return {path: [torch.cat([parts[0][0][:0], *part]) for part in parts] for path, parts in rows.items()}


@pytest.mark.parametrize("preserve", [[], PRESERVE])
@pytest.mark.parametrize("tokens", ["last", "tail"])
def test_edit_is_equation_7_on_both_projections_of_flux(tiny_flux, tokens, preserve):
    before = {name: tensor.clone() for name, tensor in tiny_flux.transformer.state_dict().items()}
    settings = {"lamb": 0.3, "edit_scale": 0.8, "preserve_scale": 1.5}
    delta = EDITORS["uce"](tiny_flux, EDITS, preserve, tokens=tokens, templates=TEMPLATES, **settings)
    assert all(torch.equal(tensor, before[name]) for name, tensor in tiny_flux.transformer.state_dict().items())
    projections = families.FAMILIES["flux"].text_projections(tiny_flux)
    assert projections.keys() == set(PATHS)
    assert delta.keys() == {f"{path}.{part}" for path in PATHS for part in "uv"}
    for path, stacked in flux_rows(tiny_flux, tokens, preserve).items():
        weight = projections[path][0].weight
        expected = equation_7(weight, *stacked, **settings)
        assert relative_error(weight + delta[f"{path}.u"] @ delta[f"{path}.v"], expected) <= 1e-6
        assert relative_error(weight, expected) > 1e-2


@pytest.mark.parametrize("preserve", [[], PRESERVE])
def test_the_faithful_form_on_flux_is_off_by_exactly_the_bias(tiny_flux, preserve):
    """The released targets hold the bias, which the layer adds again: W g + 2 b where W g + b is meant."""
    projections = families.FAMILIES["flux"].text_projections(tiny_flux)
    for projection, _ in projections.values():
        torch.nn.init.normal_(projection.bias, generator=torch.Generator().manual_seed(0))
    settings = {"tokens": "last", "lamb": 1e-6, "edit_scale": 0.8, "preserve_scale": 1.5}
    edits = EDITS[:2]
    corrected, faithful = (uce.edit(tiny_flux, edits, preserve, bias=form, **settings) for form in uce.FORMS)
    for path, (projection, key) in projections.items():
        weight, bias = projection.weight.double(), projection.bias.double()
        right, wrong = (
            weight + delta[f"{path}.u"].double() @ delta[f"{path}.v"].double() for delta in (corrected, faithful)
        )
        known, meant = [], []
        for source, target in [(c.source, c.target) for c in edits] + [(text, text) for text in preserve[:3]]:
            (states, pooled, n), (guide, pooled_guide, m) = (flux_states(tiny_flux, text) for text in (source, target))
            known.append((states[n - 1] if key == "prompt_embeds" else pooled[0]).double())
            meant.append((guide[m - 1] if key == "prompt_embeds" else pooled_guide[0]).double() @ weight.T + bias)
        known, meant = torch.stack(known), torch.stack(meant)
        assert relative_error(known @ right.T + bias, meant) < 1e-3
        # Of edited and of preserved concepts alike.
        assert relative_error(known @ wrong.T + bias - meant, bias.expand_as(meant)) < 1e-3
        # And away from that limit: equation 7 with the released code's targets.
        loose = {**settings, "lamb": 0.3}
        delta = uce.edit(tiny_flux, edits, preserve, bias="faithful", **loose)
        left, gram = 0.3 * weight, 0.3 * torch.eye(weight.shape[1], dtype=torch.float64)
        for k, (c, v) in enumerate(zip(known, meant, strict=True)):
            scale = 0.8 if k < len(edits) else 1.5
            left, gram = left + scale * torch.outer(v, c), gram + scale * torch.outer(c, c)
        expected = torch.linalg.solve(gram, left, left=False)
        assert relative_error(weight + (delta[f"{path}.u"] @ delta[f"{path}.v"]).double(), expected) <= 1e-6


def test_stable_diffusion_has_no_bias_to_count_twice(tiny_pipe):
    corrected, faithful = (uce.edit(tiny_pipe, EDITS, PRESERVE, bias=form) for form in uce.FORMS)
    for path in families.FAMILIES["sd"].text_projections(tiny_pipe):
        assert torch.equal(
            corrected[f"{path}.u"] @ corrected["shared.v"], faithful[f"{path}.u"] @ faithful[f"{path}.v"]
        )


def test_an_empty_guide_is_the_end_of_the_text_or_as_released_the_last_padding_token(tiny_flux, tiny_pipe):
    settings = {"lamb": 0.3, "edit_scale": 0.8, "preserve_scale": 1.5}
    weight = tiny_flux.transformer.context_embedder.weight
    changes = {}
    for form, position in (("corrected", 0), ("faithful", 15)):
        delta = uce.edit(tiny_flux, EDITS, [], tokens="last", templates=TEMPLATES, empty_guide=form, **settings)
        changes[form] = delta[f"{PATHS[0]}.u"] @ delta[f"{PATHS[0]}.v"]
        rows = flux_rows(tiny_flux, "last", [], empty=position)
        assert relative_error(weight + changes[form], equation_7(weight, *rows[PATHS[0]], **settings)) <= 1e-6
    assert relative_error(changes["faithful"], changes["corrected"].double()) > 1e-2
    corrected, faithful = (uce.edit(tiny_pipe, EDITS, [], tokens="last", empty_guide=form) for form in uce.FORMS)
    assert all(torch.equal(corrected[key], faithful[key]) for key in corrected), "CLIP's empty text is its BOS"


@pytest.mark.parametrize("kind", ["sd", "flux"])
def test_preserved_concepts_change_as_the_regularisation_predicts(request, kind):
    """With rows K of edited (e) and preserved (p) concepts, (W' - W) P^T = -lamb W (G - C)^T [(lamb I + K K^T)^-1]_ep:
    nothing as lamb goes to 0, as long as the concepts are independent."""
    pipe = request.getfixturevalue({"sd": "tiny_pipe", "flux": "tiny_flux"}[kind])
    edits, sizes = EDITS[:2], []
    for lamb in (0.5, 1e-4):
        delta = uce.edit(pipe, edits, PRESERVE[:3], tokens="last", lamb=lamb)
        for path, (projection, key) in families.FAMILIES[kind].text_projections(pipe).items():
            c, g, p = (
                torch.stack([_last(pipe, kind, key, text) for text in texts]).double()
                for texts in ([e.source for e in edits], [e.target for e in edits], PRESERVE[:3])
            )
            rows, weight = torch.cat([c, p]), projection.weight.double()
            inverse = torch.linalg.inv(lamb * torch.eye(5, dtype=torch.float64) + rows @ rows.T)
            predicted = -lamb * weight @ (g - c).T @ inverse[:2, 2:]
            v = delta["shared.v"] if "shared.v" in delta else delta[f"{path}.v"]
            found = delta[f"{path}.u"].double() @ v.double() @ p.T
            scale = float((weight @ p.T).norm())
            assert float((found - predicted).norm()) <= 1e-6 * scale
            sizes.append(float(found.norm()) / scale)
    strong, weak = max(sizes[: len(sizes) // 2]), max(sizes[len(sizes) // 2 :])
    assert weak < 1e-2 < strong


def _last(pipe, kind, key, text):
    """The state of a text's last content token, or the pooled one."""
    if kind == "sd":
        states, n = states_of(pipe, text)
        return states[n]
    states, pooled, n = flux_states(pipe, text)
    return states[n - 1] if key == "prompt_embeds" else pooled[0]


@pytest.mark.parametrize(
    ("change", "settings", "sentence"),
    [
        ({}, {"tokens": "first"}, "no tokens 'first'"),
        ({}, {"templates": ("no hole",)}, "exactly one {}"),
        ({}, {"templates": ("{}s",)}, "ends inside a token"),
        ({}, {"lamb": 0.0}, "lamb and edit_scale above 0"),
        ({}, {"bias": "twice"}, "bias can't be 'twice'"),
        ({"source": " "}, {}, "empty source"),
        ({"target": "rose " * 20}, {}, "has 20 tokens, the text encoder reads 14"),
    ],
)
def test_settings_that_can_not_work_are_sentences(tiny_pipe, change, settings, sentence):
    edits = [SimpleNamespace(**{"source": "a rose", "target": "a fish", **change})]
    with pytest.raises(HoldfastError, match=sentence):
        uce.edit(tiny_pipe, edits, [], **settings)
