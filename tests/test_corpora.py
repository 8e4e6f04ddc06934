"""Corpora: what a user's folder may hold, and the sentence for what it may not."""

import json

import numpy as np
import pytest
from PIL import Image

from holdfast import corpora
from holdfast.errors import HoldfastError


def _corpus(folder, rows, pictures=("a.png", "sub/b.png")):
    for name in pictures:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (200, 10, 10)).save(folder / name)
    text = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
    (folder / "metadata.jsonl").write_text(text + "\n\n")
    return folder


def test_pictures_and_captions_come_in_the_order_of_the_metadata(tmp_path):
    rows = [{"file_name": "sub/b.png", "text": " a blue mug ", "more": 1}, {"file_name": "a.png", "text": "a plum"}]
    corpus = _corpus(tmp_path, rows)
    assert corpora.read(corpus) == [(corpus / "sub/b.png", "a blue mug"), (corpus / "a.png", "a plum")]


A, B = {"file_name": "a.png", "text": "a"}, {"file_name": "sub/b.png", "text": "b"}


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([A, "{"], "line 2: this is no"),
        ([A, {"file_name": "sub/b.png"}], "line 2: this is no .*'text'"),
        ([A, {"file_name": "sub/b.png", "text": " "}], "the caption of sub/b.png is empty"),
        ([A, B, {"file_name": "c.png", "text": "c"}], "c.png is missing"),
        ([A, B, A], "line 3: a.png already has a caption"),
        ([A, B, {"file_name": "../a.png", "text": "a"}], "outside the corpus"),
        ([A], "sub/b.png has no caption"),
        ([], "lists no pictures"),
    ],
)
def test_a_broken_corpus_gets_a_sentence(tmp_path, rows, sentence):
    with pytest.raises(HoldfastError, match=sentence):
        corpora.read(_corpus(tmp_path / "corpus", rows))


def test_no_folder_and_no_captions_are_told_apart(tmp_path):
    with pytest.raises(HoldfastError, match="no corpus folder"):
        corpora.read(tmp_path / "nowhere")
    with pytest.raises(HoldfastError, match="has no captions"):
        corpora.read(tmp_path)


def test_pictures_of_the_right_size_keep_their_pixels_and_others_are_cropped_in_the_middle(tmp_path):
    exact = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(exact).save(tmp_path / "exact.png")
    np.testing.assert_array_equal(corpora.open_picture(tmp_path / "exact.png", 8), exact)
    wide = np.zeros((16, 48, 3), dtype=np.uint8)
    wide[:, 13:35] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    assert (corpora.open_picture(tmp_path / "wide.png", 8) == 255).all()
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(HoldfastError, match="can't be opened as a picture"):
        corpora.open_picture(tmp_path / "text.png", 8)
