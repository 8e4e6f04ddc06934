"""Write one of the study's tables as LaTeX."""


def run(*, name, table, families, study, statistics, output, log):
    """Write the file `output` of the table called `name` (`holdfast.report.latex.TABLES`).

    table: its CSV file. families: their order. study: its name. statistics: draws, confidence and margin.
    """
    from holdfast import log as logs

    logger = logs.job(log)

    from holdfast import artifacts
    from holdfast.analysis.tables import read_csv
    from holdfast.report import latex
    from holdfast.report.arrange import by_family

    frame = read_csv(table)
    if "family" in frame:
        frame = by_family(frame, families)
    artifacts.write_text(output, latex.write(latex.BY_NAME[name], frame, study=study, statistics=statistics))
    logger.info("%s from %d rows of %s", output, len(frame), table)
