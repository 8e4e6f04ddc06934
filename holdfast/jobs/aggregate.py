"""Put the scores of all states together and compute the study's tables from them."""

from pathlib import Path, PurePosixPath


def run(*, scores, folder, benchmarks, relations, statistics, outputs, log):
    """Write the five tables of docs/tables.md.

    scores: score files, `folder`/{family}/{lineage}/{probes}.parquet. benchmarks: folder of the jobs' benchmark files.
    relations: corpus -> its relation to the edits. statistics: draws, confidence and seed of the bootstrap.
    outputs: table's name (scores, persistence, edits, rates, costs) -> path.
    """
    from holdfast import log as logs

    logger = logs.job(log)
    logger.info("reading %d score files", len(scores))

    from holdfast import artifacts
    from holdfast.analysis import costs, persistence, tables

    cells = {path: cell(path, folder) for path in scores}
    states = {path: tables.identify(family, lineage, relations) for path, (family, lineage, _) in cells.items()}
    table = tables.collect(states)
    logger.info("%d rows; computing persistence and rates", len(table))
    pictures = persistence.pictures(table)
    made = {
        "persistence": persistence.tabulate(pictures, **statistics),
        "edits": persistence.by_edit(pictures),
        "rates": persistence.rates(pictures, **statistics),
        "costs": costs.collect(benchmark_files(cells.values(), Path(benchmarks))),
    }
    with artifacts.atomic(outputs["scores"]) as temporary:
        tables.to_parquet(table, temporary)
    for name, frame in made.items():
        with artifacts.atomic(outputs[name]) as temporary:
            frame.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")
    logger.info("%d cells", len(made["persistence"]))


def cell(path, folder):
    """A score or samples file's (family, lineage, probes): its place below `folder` is its identity."""
    family, *lineage, probes = PurePosixPath(path).relative_to(PurePosixPath(folder)).with_suffix("").parts
    return family, "/".join(lineage), probes


def benchmark_files(cells, folder):
    """Where the benchmarks of all jobs behind these cells lie: path -> (rule, job). Not all of them need to exist."""
    from holdfast import lineage
    from holdfast.lineage import EditStep

    jobs = {}
    for family, state, probes in cells:
        jobs["download_model", family] = None
        for prefix in lineage.prefixes(state):
            last = lineage.parse(prefix)[-1]
            edits = isinstance(last, EditStep)
            jobs["edit_model" if edits else "tune_model", f"{family}/{prefix}"] = None
            if not edits:
                jobs["draw_corpus", last.corpus] = None
        for rule in ("sample_images", "score_images"):
            jobs[rule, f"{family}/{state}/{probes}"] = None
    return {str(folder / rule / f"{job}.tsv"): (rule, job) for rule, job in jobs}
