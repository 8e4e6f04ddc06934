"""Bring a model or scorer folder into place."""

import shutil
from pathlib import Path


def run(*, source, output, log):
    """Copy the folder of the manifest `source` to the folder of the manifest `output`, every file verified.

    `source` may be a scorer's own Python file that has no weights: the folder then holds a copy of it.
    """
    from holdfast import hub
    from holdfast.log import job

    logger = job(log)
    source, folder = Path(source), Path(output).parent
    if source.name == hub.MANIFEST:
        manifest = hub.fetch(source.parent, folder)
    else:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        shutil.copyfile(source, folder / source.name)
        manifest = hub.write_manifest(folder, repo=source.name, revision="file")
    logger.info("%s: %d files of %s verified", folder, len(manifest["files"]), manifest["repo"])
