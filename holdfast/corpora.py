"""Fine-tuning corpora in the imagefolder convention: pictures and a metadata.jsonl with `file_name` and `text`."""

import json
from pathlib import Path

from holdfast.errors import HoldfastError

METADATA = "metadata.jsonl"
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


def read(corpus_dir):
    """The pictures and captions of a corpus.

    Args:
        corpus_dir: folder with metadata.jsonl, one object per line: `{"file_name": "a/0001.png", "text": "a mug"}`;
            file names are relative to the folder, further keys are left alone.

    Returns:
        [(path, caption), ...] in the order of metadata.jsonl.

    Raises:
        HoldfastError: no folder, no metadata.jsonl, a line that can't be read, an empty caption, a picture that is
            missing, listed twice or outside the folder, or a picture that has no caption.
    """
    corpus = Path(corpus_dir)
    metadata = corpus / METADATA
    if not corpus.is_dir():
        raise HoldfastError(f"There is no corpus folder {corpus}; correct the path, or draw the corpus first.")
    if not metadata.is_file():
        raise HoldfastError(
            f"The corpus {corpus} has no captions: add {METADATA} with a line "
            '{"file_name": "0001.png", "text": "a caption"} for every picture.'
        )
    pairs = {}
    for number, line in enumerate(metadata.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if line.strip():
            name, text = _entry(line, f"{metadata}, line {number}")
            path = corpus / name
            if not path.resolve().is_relative_to(corpus.resolve()):
                raise HoldfastError(
                    f"{metadata}, line {number}: {name} lies outside the corpus; move it into {corpus}."
                )
            if path in pairs:
                raise HoldfastError(
                    f"{metadata}, line {number}: {name} already has a caption; keep one of the two lines."
                )
            if not path.is_file():
                raise HoldfastError(
                    f"{metadata}, line {number}: the picture {path} is missing; add it, or delete the line."
                )
            pairs[path] = text
    if not pairs:
        raise HoldfastError(f"{metadata} lists no pictures; add a line for every picture.")
    for path in sorted(corpus.rglob("*")):
        if path.suffix.lower() in SUFFIXES and path not in pairs:
            raise HoldfastError(f"The picture {path} has no caption in {metadata}; add a line for it, or remove it.")
    return list(pairs.items())


def captions(corpus_dir, images):
    """The first `images` captions of a corpus; HoldfastError if it has fewer."""
    texts = [text for _, text in read(corpus_dir)]
    if len(texts) < images:
        raise HoldfastError(f"The corpus {corpus_dir} has {len(texts)} captions and not {images}: ask for fewer.")
    return texts[:images]


def open_picture(path, size):
    """A picture as the base model wants it: RGB uint8 [size, size, 3], resized along its shorter side and cropped.

    Bilinear and centred, as diffusers' text-to-image training scripts do with `--center_crop`; a picture of the right
    size keeps every pixel.
    """
    import numpy as np
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            image = ImageOps.exif_transpose(image).convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise HoldfastError(
            f"{path} can't be opened as a picture ({error}); replace it, or delete its line."
        ) from error
    if image.size != (size, size):
        image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    return np.asarray(image)


def _entry(line, where):
    """file_name and text of one line."""
    try:
        row = json.loads(line)
        name, text = row["file_name"], row["text"]
    except (ValueError, TypeError, KeyError) as error:
        raise HoldfastError(
            f'{where}: this is no {{"file_name": ..., "text": ...}} ({error}); correct the line.'
        ) from error
    if not isinstance(name, str) or not name:
        raise HoldfastError(f"{where}: file_name is empty; name the picture.")
    if not isinstance(text, str) or not text.strip():
        raise HoldfastError(f"{where}: the caption of {name} is empty; write one.")
    return name, text.strip()
