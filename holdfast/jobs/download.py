"""Bring a model or scorer folder into place."""

from pathlib import Path


def run(*, source, output, log):
    """Copy the folder of the manifest `source` to the folder of the manifest `output`, every file verified."""
    from holdfast import hub
    from holdfast.log import job

    logger = job(log)
    manifest = hub.fetch(Path(source).parent, Path(output).parent)
    logger.info("%s: %d files of %s verified", Path(output).parent, len(manifest["files"]), manifest["repo"])
