"""Fixtures that several test files share."""

import os

# Before torch is imported anywhere: tiny models gain nothing from threads, and lose much when tests share cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest  # noqa: E402

from tests import tiny  # noqa: E402
from tests.browser import browser, matrix, page  # noqa: E402, F401


@pytest.fixture(scope="session")
def tiny_dir(tmp_path_factory):
    """Folder of a tiny Stable Diffusion pipeline with its manifest; shared, so not to be changed."""
    return tiny.build(tmp_path_factory.mktemp("models") / "tiny-sd")


@pytest.fixture
def tiny_pipe(tiny_dir):
    """A freshly loaded tiny pipeline."""
    from holdfast import families

    return families.load(tiny_dir)


@pytest.fixture(scope="session")
def tiny_flux_dir(tmp_path_factory):
    """Folder of a tiny FLUX pipeline with its manifest; shared, so not to be changed."""
    return tiny.build_flux(tmp_path_factory.mktemp("models") / "tiny-flux")


@pytest.fixture
def tiny_flux(tiny_flux_dir):
    """A freshly loaded tiny FLUX pipeline."""
    from holdfast import families

    return families.load(tiny_flux_dir, kind="flux")


@pytest.fixture(scope="session")
def tiny_sdxl_dir(tmp_path_factory):
    """Folder of a tiny SDXL pipeline with its manifest; shared, so not to be changed."""
    return tiny.build_sdxl(tmp_path_factory.mktemp("models") / "tiny-sdxl")


@pytest.fixture
def tiny_sdxl(tiny_sdxl_dir):
    """A freshly loaded tiny SDXL pipeline."""
    from holdfast import families

    return families.load(tiny_sdxl_dir, kind="sdxl")


@pytest.fixture(scope="session")
def models():
    """Folder of the shipped models."""
    from tests.workspace import ROOT

    folder = ROOT / "models"
    assert (folder / "mini-sd/manifest.json").exists(), "models/ is not whole: check the repository out again"
    return folder


@pytest.fixture(scope="session")
def smoke(tmp_path_factory, models):
    """A workspace in which the smoke study was run to its end, with real jobs. Shared, so not to be changed.

    Its model comes from a hub, gated, as the real ones do; the hub is gone when the study is done.
    """
    from tests.hub_server import HubServer
    from tests.workspace import Workspace

    workspace, name, token = Workspace(tmp_path_factory.mktemp("smoke"), models=models), "holdfast/mini-sd", "hf_secret"
    with HubServer({name: models / "mini-sd"}, gated=[name], tokens={token: [name]}) as hub:
        place = f"source: {name}\n    revision: {hub.commit(name)}\n"
        workspace.replace("studies/smoke.yaml", "source: models/mini-sd\n", place)
        workspace.snakemake(env={"HF_ENDPOINT": hub.url, "HF_TOKEN": token})
    return workspace
