"""How much of a finished study's job time is model work: `python -m benchmarks.overhead [FOLDER]`.

Model work is what the jobs' progress bars timed (their last line says how long they ran); the rest of a job is starting
Python, importing, loading weights, reading and writing. Snakemake's own time is not in a job.
"""

import re
import sys
from pathlib import Path

import pandas as pd

RULES = ("edit_model", "tune_model", "sample_images", "score_images")
_GONE = re.compile(r"(?:(\d+):)?(\d+):(\d+) gone")


def shares(folder):
    """Frame of the model rules: jobs, seconds of jobs, seconds of model work, share that is not model work."""
    rows = []
    for rule in RULES:
        benchmarks = folder / "results" / "benchmarks" / rule
        for file in sorted(benchmarks.rglob("*.tsv")):
            log = (folder / "logs" / rule / file.relative_to(benchmarks)).with_suffix(".log")
            last = _GONE.findall(log.read_text(encoding="utf-8"))[-1]
            hours, minutes, seconds = (int(part or 0) for part in last)
            rows.append((rule, float(pd.read_csv(file, sep="\t")["s"].iloc[-1]), hours * 3600 + minutes * 60 + seconds))
    table = pd.DataFrame(rows, columns=["rule", "job_seconds", "model_seconds"])
    out = table.groupby("rule", sort=False).agg(
        jobs=("rule", "size"), job_seconds=("job_seconds", "sum"), model_seconds=("model_seconds", "sum")
    )
    out.loc["in all"] = out.sum()
    out["not_model"] = 1 - out["model_seconds"] / out["job_seconds"]
    return out


if __name__ == "__main__":
    print(shares(Path(sys.argv[1] if len(sys.argv) > 1 else ".")).round(3).to_string())
