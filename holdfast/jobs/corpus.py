"""Put a fine-tuning corpus into place: drawn by the miniature's world, or the user's own pictures."""

import hashlib
import io
import json
import shutil
from pathlib import Path


def run(job, *, output, log):
    """Write the pictures and the metadata.jsonl at `output`, as `job` (`Study.corpus_job`) says."""
    from holdfast import log as logs

    logger = logs.job(log)
    pictures = _own(job) if job["kind"] == "folder" else _drawn(job)
    write(output, pictures)
    logger.info("%s: %d pictures", Path(output).parent, len(pictures))


def write(output, pictures):
    """Write (file name, bytes, caption) of each picture beside the metadata.jsonl `output`, which is written last.

    Each of its lines holds `file_name`, `text` and the picture's `sha256`, so that a changed picture changes the file
    that everything downstream watches.
    """
    from holdfast import artifacts

    folder = Path(output).parent
    # A corpus that lost a picture must not keep it: the folder is the workflow's own.
    shutil.rmtree(folder, ignore_errors=True)
    lines = []
    for name, data, text in pictures:
        artifacts.write_bytes(folder / name, data)
        lines.append({"file_name": name, "text": text, "sha256": hashlib.sha256(data).hexdigest()})
    artifacts.write_text(output, "".join(json.dumps(line) + "\n" for line in lines))


def png(picture):
    """The PNG file of a picture, uint8 [H, W, 3]."""
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(picture).save(data, "PNG")
    return data.getvalue()


def _own(job):
    """(file name, bytes, caption) of the user's folder, checked."""
    from holdfast import corpora

    source = Path(job["path"])
    return [(path.relative_to(source).as_posix(), path.read_bytes(), text) for path, text in corpora.read(source)]


def _drawn(job):
    """(file name, PNG, caption) of a corpus of the miniature's world."""
    from holdfast.world import corpora

    pictures = []
    for number in range(job["images"]):
        picture, text = corpora.draw(job["name"], number, job["seed"], job.get("subjects", ()))
        pictures.append((f"{number:05d}.png", png(picture), text))
    return pictures
