"""Write the standalone page and the headline that the terminal shows."""

from pathlib import Path


def run(*, config, tables, pictures, figures, page, headline, log):
    """Render the tables and figures into `page` (HTML) and `headline` (text).

    config: the checked configuration. tables: name -> CSV file, for `holdfast.report.TABLES`. pictures:
    the pictures tables of all families. figures: name -> SVG file.
    """
    from holdfast import log as logs

    logger = logs.job(log)

    import pandas as pd

    from holdfast import artifacts
    from holdfast.analysis.tables import read_csv, read_parquet
    from holdfast.report import answer, claims
    from holdfast.report import page as pages
    from holdfast.report.arrange import by_family

    frames = {name: by_family(read_csv(path), config["families"]) for name, path in tables.items() if name != "costs"}
    frames["costs"] = read_csv(tables["costs"])
    text = pages.render(
        config=config,
        tables=frames,
        pictures=pd.concat([read_parquet(path) for path in pictures], ignore_index=True),
        figures={name: Path(path).read_text(encoding="utf-8") for name, path in figures.items()},
    )
    artifacts.write_text(page, text)
    found = answer.cells(frames["persistence"])
    told = claims.lines(frames["claims"])
    artifacts.write_text(headline, answer.headline(found, config["statistics"]["confidence"], told))
    logger.info("%s: %.1f MB", page, len(text.encode()) / 1e6)
