"""The job that traces causes, on tiny real pipelines and deltas whose effect is known."""

import pandas as pd
import pytest
import torch

from holdfast import families, hub, states
from holdfast.families import loading
from holdfast.jobs import causes
from tests.tuning import write_corpus

EDITED, TUNED, CONTROL = "uce.0", "uce.0/full.mascot.s0", "full.mascot.s0"
PROMPTS = [["king", "king-0", "the king"], ["king", "king-1", "the king at night"], ["rose", "rose-0", "a rose"]]


@pytest.fixture(params=[("sd", False), ("flux", False), ("flux", True)])
def traced(request, tiny_dir, tiny_flux_dir, tmp_path, monkeypatch):
    """The rows of the job where the tuning takes 40 % of the edit's change of one projection back, and adds .1 to a
    layer of the text encoder wherever it starts from."""
    kind, offloaded = request.param
    model_dir = {"sd": tiny_dir, "flux": tiny_flux_dir}[kind]
    if offloaded:  # layer by layer, with the CPU in the GPU's place
        monkeypatch.setattr(loading, "offloader", _offloader)
    pipe = families.load(model_dir, kind=kind)
    path, (projection, _) = next(iter(families.kind_of(pipe).text_projections(pipe).items()))
    draw = torch.Generator().manual_seed(0)
    change = torch.randn(len(projection.weight), 1, generator=draw) @ torch.randn(
        1, projection.weight.shape[1], generator=draw
    )
    elsewhere = {"text_encoder.encoder.layers.0.mlp.fc1.bias": torch.full([64], 0.1)}
    files = {lineage: tmp_path / f"{number}.safetensors" for number, lineage in enumerate((EDITED, TUNED, CONTROL))}
    common = {"family": "tiny", "model_dir": model_dir, "method": "any"}
    states.save(files[EDITED], {"task": {f"{path}.weight": change}}, step="edit", lineage=EDITED, **common)
    back = {f"{path}.weight": -0.4 * change, **elsewhere}
    states.save(
        files[TUNED], {"task": {1: elsewhere, 3: back}}, step="tune", lineage=TUNED, parents=[files[EDITED]], **common
    )
    states.save(files[CONTROL], {"base": {1: elsewhere, 3: elsewhere}}, step="tune", lineage=CONTROL, **common)
    job = {
        "family": "tiny", "lineage": EDITED, "loading": {"kind": kind}, "guidance_scale": 2.0,
        "variants": [["task", "role", PROMPTS]], "tunings": [[TUNED, CONTROL, [1, 3], "mascot"]], "corpora": ["mascot"],
    }  # fmt: skip
    places = {"model": model_dir / hub.MANIFEST, "output": tmp_path / "causes.parquet", "log": tmp_path / "log"}
    places["corpora"] = [write_corpus(tmp_path / "mascot") / "metadata.jsonl"]
    causes.run(job, deltas=[*files.values()], threads=1, machine={"offload": "none", "batch_size": 2}, **places)
    return path, pd.read_parquet(places["output"])


def _offloader(pipe, offload, device):
    from accelerate import cpu_offload

    networks = [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]
    return lambda: [cpu_offload(network, torch.device("cpu")) for network in networks]


def test_the_job_finds_what_was_put_into_the_deltas(traced):
    path, table = traced
    value = table.set_index(["edit", "layer", "tuning_step", "measure"])["value"]
    assert value["", f"{path}.weight", 3, "along"] == pytest.approx(-0.4, abs=1e-5)
    assert value["", "", 3, "along"] == pytest.approx(-0.4, abs=1e-5)
    assert value["", "", 1, "along"] == 0
    assert value["", "", 3, "along_control"] == 0
    assert value["", "", 3, "remaining"] == pytest.approx(0.6, abs=1e-5)
    assert value["", "", 3, "share"] == pytest.approx(1, abs=1e-4)
    assert value["", "", 1, "touched"] == 0 < value["", "", 3, "touched"] < 1
    for edit in ("king", "rose"):
        assert value[edit, "", 3, "text_path"] == pytest.approx(0.6, abs=0.1)
        assert value[edit, "", 1, "text_path"] == pytest.approx(1, abs=0.1)
        assert value[edit, "", 3, "denoiser_path"] < value[edit, "", 1, "denoiser_path"]
    assert set(table["variant"]) == {"task"} and set(table["task"]) == {"role"}


def test_tracing_leaves_no_other_layer_among_the_edited(traced):
    path, table = traced
    assert set(table["layer"]) == {"", f"{path}.weight"}


def test_fit_is_the_share_of_the_loss_that_a_tuning_took_away(traced):
    """The control learned the same at both steps; the edited model's last step also lost a part of its edit."""
    value = traced[1].set_index(["edit", "layer", "tuning_step", "measure"])["value"]
    assert value["", "", 1, "fit_control"] == value["", "", 3, "fit_control"] != 0
    assert value["", "", 1, "fit"] != value["", "", 3, "fit"]


@pytest.mark.parametrize("kind", ["sd", "flux"])
def test_a_training_raises_the_fit_and_noise_lowers_it(kind, tiny_dir, tiny_flux_dir, tmp_path):
    """The loss is that of training: trained on these pictures it falls, with random weights added it rises."""
    from holdfast.tuners import TUNERS
    from holdfast.tuners.fit import Fit

    pipe = families.load({"sd": tiny_dir, "flux": tiny_flux_dir}[kind], kind=kind)
    folder = write_corpus(tmp_path / "mascot")
    fit = Fit(pipe, folder)
    before = fit.loss(pipe)
    assert fit.loss(pipe) == before
    (trained,) = TUNERS["full"](pipe, folder, seed=0, steps=60, batch_size=4, learning_rate=1e-3).values()
    denoiser = next(iter(families.kind_of(pipe).site_modules(pipe, "denoiser").values()))
    draw = torch.Generator().manual_seed(0)
    losses = {}
    for name, change in (("trained", trained), ("noise", {n: torch.randn(t.shape, generator=draw) * t.std() * 20
                                                           for n, t in trained.items()})):  # fmt: skip
        with torch.no_grad():
            for path, delta in change.items():
                denoiser.get_parameter(path.partition(".")[2]).add_(delta)
            losses[name] = fit.loss(pipe)
            for path, delta in change.items():
                denoiser.get_parameter(path.partition(".")[2]).sub_(delta)
    assert losses["trained"] < before < losses["noise"]
