"""Write the standalone page and the headline that the terminal shows."""

from pathlib import Path


def run(*, config, persistence, edits, rates, costs, pictures, figures, page, headline, log):
    """Render the tables and figures into `page` (HTML) and `headline` (text).

    config: the checked configuration. pictures: the pictures tables of all families. figures: name -> SVG file.
    """
    from holdfast import log as logs

    logger = logs.job(log)

    import pandas as pd

    from holdfast import artifacts
    from holdfast.analysis import tables
    from holdfast.report import answer
    from holdfast.report import page as pages

    cells = tables.read_csv(persistence)
    text = pages.render(
        config=config,
        persistence=cells,
        edits=tables.read_csv(edits),
        rates=tables.read_csv(rates),
        costs=tables.read_csv(costs),
        pictures=pd.concat([tables.read_parquet(path) for path in pictures], ignore_index=True),
        figures={name: Path(path).read_text(encoding="utf-8") for name, path in figures.items()},
    )
    artifacts.write_text(page, text)
    artifacts.write_text(headline, answer.table(answer.cells(cells), config["statistics"]["confidence"]))
    logger.info("%s: %.1f MB", page, len(text.encode()) / 1e6)
