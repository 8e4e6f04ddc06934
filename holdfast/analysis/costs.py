"""What the study cost: Snakemake's benchmark files in one table, a row per job."""

from pathlib import Path

import pandas as pd

from holdfast.errors import HoldfastError

COLUMNS = ["rule", "job", "seconds", "cpu_seconds", "max_rss_mib"]


def collect(files):
    """Read benchmark files. files: path -> (rule, job). Returns a frame with the columns COLUMNS.

    seconds: wall time. cpu_seconds: of all the job's threads. max_rss_mib: largest resident memory. A job too short
    for Snakemake to have looked at has empty cpu_seconds and max_rss_mib. A missing file is skipped: a job whose output
    was there before benchmarks were kept has none.
    """
    rows = []
    for path, (rule, job) in files.items():
        if not Path(path).exists():
            continue
        try:
            table = pd.read_csv(path, sep="\t", na_values=["-", "NA"])
            last = table.iloc[-1]
            rows.append([rule, job, float(last["s"]), float(last["cpu_time"]), float(last["max_rss"])])
        except (KeyError, IndexError, ValueError) as error:
            raise HoldfastError(f"{path} is not a benchmark file of Snakemake's: delete it.") from error
    return pd.DataFrame(rows, columns=COLUMNS).sort_values(["rule", "job"], ignore_index=True)


def per_rule(table):
    """Jobs, wall and CPU seconds in sum, the longest job and the most memory, per rule; the dearest rule first."""
    grouped = table.groupby("rule", sort=True)
    out = pd.DataFrame(
        {
            "jobs": grouped.size(),
            "seconds": grouped["seconds"].sum(),
            "cpu_seconds": grouped["cpu_seconds"].sum(min_count=1),
            "longest": grouped["seconds"].max(),
            "max_rss_mib": grouped["max_rss_mib"].max(),
        }
    )
    return out.sort_values("seconds", ascending=False).reset_index()
