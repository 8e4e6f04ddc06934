"""Put the causes of all states together, and ask what they foretell and what tuners leave at equal strength."""

from pathlib import Path, PurePosixPath


def run(*, causes, persistence, edits, folder, relations, statistics, outputs, log):
    """Write the tables `causes`, `prediction` and `doses` of docs/tables.md.

    causes: the files causes/{family}/{lineage}.parquet below `folder`. persistence, edits: the tables of these names.
    relations: corpus -> its relation to the edits. statistics: draws, confidence and seed of the bootstrap. outputs:
    table's name -> path.
    """
    from holdfast import log as logs

    logger = logs.job(log)

    from holdfast import artifacts
    from holdfast.analysis import cause_tables, doses, tables

    root = PurePosixPath(Path(folder) / "causes")
    traced = cause_tables.collect({path: PurePosixPath(path).relative_to(root).parts[0] for path in causes}, relations)
    chosen = {name: statistics[name] for name in ("draws", "confidence", "seed")}
    single = tables.read_csv(edits)
    made = {
        "causes": traced,
        "prediction": cause_tables.foretell(traced, single, **chosen),
        "doses": doses.tabulate(traced, tables.read_csv(persistence), single, **chosen),
    }
    for name, frame in made.items():
        with artifacts.atomic(outputs[name]) as temporary:
            frame.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")
    logger.info("%d rows of causes from %d files", len(traced), len(causes))
