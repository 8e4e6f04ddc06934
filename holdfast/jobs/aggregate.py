"""Put the scores of all states together and compute the study's tables from them."""

from pathlib import Path, PurePosixPath


def run(*, scores, quality, folder, relations, methods, statistics, outputs, log):
    """Write the tables of docs/tables.md.

    scores, quality: the files below `folder`, scores/{family}/{lineage}/{probes}.parquet and
    quality/{family}/{lineage}.csv; the jobs' benchmark files lie in its benchmarks/. relations: corpus -> its relation
    to the edits. methods: of `holdfast.methods.described`. statistics: draws, confidence and seed of the bootstrap,
    margin of the tests. outputs: name of a table of docs/tables.md -> path.
    """
    from holdfast import log as logs

    logger = logs.job(log)
    logger.info("reading %d score files and %d quality files", len(scores), len(quality))

    from holdfast import artifacts
    from holdfast.analysis import (
        arms,
        before,
        broken,
        claims,
        comparisons,
        costs,
        curves,
        pairing,
        persistence,
        power,
        rates,
        sites,
        tables,
    )

    folder = Path(folder)
    cells = {path: cell(path, folder / "scores") for path in scores}
    states = {path: tables.identify(family, lineage, relations) for path, (family, lineage, _) in cells.items()}
    general = {path: cell(path, folder / "quality", probes="general") for path in quality}
    measured = {path: tables.identify(family, lineage, relations) for path, (family, lineage, _) in general.items()}
    table = tables.collect(states)
    logger.info("%d rows; computing the tables", len(table))
    pictures = pairing.pictures(table)
    edited, paired = list(pairing.edited(pictures)), list(pairing.paired(pictures))
    bootstrap = {name: value for name, value in statistics.items() if name != "margin"}
    general_pictures = tables.collect_quality(measured)
    tested = persistence.measured(paired, **statistics)
    last = persistence.at_last_step(tested)
    placed = sites.tabulate(last, methods["editors"], **bootstrap)
    families = list(dict.fromkeys(family for family, *_ in cells.values()))
    made = {
        "before": before.tabulate(edited, **bootstrap),
        "before_edits": before.by_edit(edited),
        "persistence": persistence.judged(tested, statistics["confidence"]),
        "edits": persistence.by_edit(paired),
        "curves": curves.tabulate(paired, **bootstrap),
        "comparisons": comparisons.tabulate(last, **bootstrap),
        "sites": placed,
        "claims": claims.tabulate(last, edited, placed, families=families, methods=methods, **statistics),
        "power": power.tabulate(last, confidence=statistics["confidence"]),
        "arms": arms.tabulate(pairing.rearranged(pictures), **bootstrap),
        "rates": rates.tabulate(pictures, **bootstrap),
        "quality": general_pictures,
        "broken": broken.tabulate(pictures, general_pictures),
        "scorers": tables.collect_scorers(states),
        "costs": costs.collect(benchmark_files((*cells.values(), *general.values()), folder / "benchmarks")),
    }
    with artifacts.atomic(outputs["scores"]) as temporary:
        tables.to_parquet(table, temporary)
    for name, frame in made.items():
        with artifacts.atomic(outputs[name]) as temporary:
            frame.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")
    logger.info("%d cells", len(made["persistence"]))


def cell(path, folder, probes=None):
    """A file's (family, lineage, probes), which its place below `folder` tells; `probes` where its name doesn't."""
    family, *lineage = PurePosixPath(path).relative_to(PurePosixPath(folder)).with_suffix("").parts
    if probes is None:
        *lineage, probes = lineage
    return family, "/".join(lineage), probes


def benchmark_files(cells, folder):
    """Where the benchmarks of all jobs behind these cells lie: path -> (rule, job). Not all of them need to exist."""
    from holdfast import lineage
    from holdfast.lineage import EditStep

    jobs = {}
    for family, state, probes in cells:
        jobs |= dict.fromkeys([("download_model", family), ("gather_moments", family)])
        # An adapter that was carried over was trained once, on the base.
        for source in lineage.sources(state):
            last = lineage.parse(source)[-1]
            if isinstance(last, EditStep):
                jobs["edit_model", f"{family}/{source}"] = None
            else:
                jobs["tune_model", f"{family}/{source}"] = None
                jobs |= dict.fromkeys([("draw_corpus", last.corpus), ("draw_placebo", f"{last.corpus}/{family}")])
        jobs["sample_images", f"{family}/{state}/{probes}"] = None
        if probes == "general":
            jobs["score_quality", f"{family}/{state}"] = None
        else:
            jobs["score_images", f"{family}/{state}/{probes}"] = None
    return {str(folder / rule / f"{job}.tsv"): (rule, job) for rule, job in jobs}
