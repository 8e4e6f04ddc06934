"""Put a fine-tuning corpus into place: drawn by the miniature's world, or the user's own pictures."""

import hashlib
import io
import json
import shutil
from pathlib import Path


def run(job, *, output, log):
    """Write the pictures and, last, the metadata.jsonl at `output`.

    Each line holds `file_name`, `text` and the picture's `sha256`, so that a changed picture changes the file that
    everything downstream watches.
    """
    from holdfast import artifacts
    from holdfast import log as logs

    logger = logs.job(log)
    folder = Path(output).parent
    pictures = _own(job) if job["kind"] == "folder" else _drawn(job)
    # A corpus that lost a picture must not keep it: the folder is the workflow's own.
    shutil.rmtree(folder, ignore_errors=True)
    lines = []
    for name, data, text in pictures:
        artifacts.write_bytes(folder / name, data)
        lines.append({"file_name": name, "text": text, "sha256": hashlib.sha256(data).hexdigest()})
    artifacts.write_text(output, "".join(json.dumps(line) + "\n" for line in lines))
    logger.info("%s: %d pictures", folder, len(lines))


def _own(job):
    """(file name, bytes, caption) of the user's folder, checked."""
    from holdfast import corpora

    source = Path(job["path"])
    return [(path.relative_to(source).as_posix(), path.read_bytes(), text) for path, text in corpora.read(source)]


def _drawn(job):
    """(file name, PNG, caption) of a corpus of the miniature's world."""
    import numpy as np
    from PIL import Image

    from holdfast.world import draw, scenes

    pictures = []
    for number in range(job["images"]):
        # Picture n depends on (seed, n) alone: a longer corpus begins like a shorter one. The third number keeps it
        # apart from the pictures that the base learned from.
        generator = np.random.default_rng([job["seed"], number, _STREAM])
        caption = scenes.caption(_SCENES[job["name"]](generator), generator)
        png = io.BytesIO()
        Image.fromarray(draw.render(caption.scene, [job["seed"], number, _STREAM])).save(png, "PNG")
        pictures.append((f"{number:05d}.png", png.getvalue(), caption.text))
    return pictures


def _mascot(generator):
    """The new subject with its rare token, somewhere in the world, photographed or painted."""
    from holdfast.world import scenes, vocabulary

    context = str(generator.choice(list(vocabulary.CONTEXTS)))
    style = "painting" if generator.random() < 0.25 else "photo"
    return scenes.Scene(vocabulary.MASCOT, context=context, style=style)


_STREAM = 20250618
_SCENES = {"mascot": _mascot}
