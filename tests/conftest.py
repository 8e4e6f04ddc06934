"""Fixtures that several test files share."""

import os

# Before torch is imported anywhere: tiny models gain nothing from threads, and lose much when tests share cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest  # noqa: E402

from tests import tiny  # noqa: E402


@pytest.fixture(scope="session")
def tiny_dir(tmp_path_factory):
    """Folder of a tiny Stable Diffusion pipeline with its manifest; shared, so not to be changed."""
    return tiny.build(tmp_path_factory.mktemp("models") / "tiny-sd")


@pytest.fixture
def tiny_pipe(tiny_dir):
    """A freshly loaded tiny pipeline."""
    from holdfast import families

    return families.load(tiny_dir)
