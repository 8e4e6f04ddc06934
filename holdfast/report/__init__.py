"""From the study's tables to figures and pages."""

# The tables that the page is made of: results/tables/{name}.csv.
TABLES = (
    *("persistence", "edits", "comparisons", "before", "arms", "rates", "quality", "broken", "scorers", "costs"),
    *("causes", "prediction", "doses", "sites", "claims"),
)
