"""Draw the study's figures from its tables, and its picture grids from the samples."""

from pathlib import Path


def persistence(*, persistence, edits, outputs, log):
    """Persistence per cell and over tuning steps. outputs: figure's name -> (SVG, PNG)."""
    from holdfast import log as logs

    logs.job(log)

    from holdfast.analysis import tables
    from holdfast.report import plots

    frames = tables.read_csv(persistence), tables.read_csv(edits)
    plots.persistence(*frames, *outputs["persistence"])
    plots.steps(*frames, *outputs["steps"])


def outcomes(*, rates, outputs, log):
    """Outcome rates and specificity per state. outputs: figure's name -> (SVG, PNG)."""
    from holdfast import log as logs

    logs.job(log)

    from holdfast.analysis import tables
    from holdfast.report import plots

    frame = tables.read_csv(rates)
    plots.outcomes(frame, *outputs["outcomes"])
    plots.specificity(frame, *outputs["specificity"])


def grids(*, model, kind, samples, folder, edits, scores, relations, pictures, outputs, log, threads):
    """Decode the pictures that the report shows, of one family, into the table `pictures`, and draw their grid.

    model: manifest of the base, whose VAE decodes. samples: all samples files of the family, below `folder`.
    edits: the edits table. scores: the table of all scores. outputs: (SVG, PNG).
    """
    from holdfast import devices
    from holdfast import log as logs

    logger = logs.job(log)
    device = devices.prepare(threads)

    from holdfast import artifacts, families
    from holdfast.analysis import tables
    from holdfast.edits import read_edits
    from holdfast.jobs.aggregate import cell
    from holdfast.report import pictures as shown
    from holdfast.report import plots

    states = {}
    for path in samples:
        family, lineage, _ = cell(path, folder)
        states[path] = tables.identify(family, lineage, relations)
    chosen = shown.shown_states(list(states.values()))
    files = {path: state for path, state in states.items() if state in chosen}
    pipe = families.load(Path(model).parent, kind=kind, device=device)
    table = shown.decode(files, read_edits(edits), tables.read_parquet(scores), pipe)
    logger.info("decoded %d pictures of %d states", len(table), table["lineage"].nunique())
    with artifacts.atomic(pictures) as temporary:
        tables.to_parquet(table, temporary)
    plots.grids(table, *outputs)
