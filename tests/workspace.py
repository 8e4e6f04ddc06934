"""A copy of the repository in a temporary folder, to run Snakemake in without touching the real one."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_SOURCES = (
    "Snakefile",
    "config.yaml",
    "pyproject.toml",
    "holdfast",
    "workflow",
    "profiles",
    "envs",
    "studies",
    "edits",
    "reports",
)
_JOB = re.compile(r"^(?:local)?rule (\w+):\n((?:    .*\n)*)", re.MULTILINE)

# Stands in for every script: writes, at each output, what the job was told and what it read. A changed description or
# input gives other content, a job that runs again for nothing gives the same.
_ECHO = '''"""Write down the job."""

import hashlib
import json
from pathlib import Path

told = json.dumps([dict(snakemake.params.items()), dict(snakemake.wildcards.items())], sort_keys=True, default=str)
read = [Path(path).read_bytes() for path in snakemake.input if Path(path).is_file()]
for path in snakemake.output:
    digest = hashlib.sha256(told.encode() + b"".join(read))
    Path(path).write_text(f"{snakemake.rule} {digest.hexdigest()}")
'''


class Workspace:
    """The repository's sources at `folder`, and `snakemake` in it."""

    def __init__(self, folder, models=None):
        """Copy the sources to `folder`; `models` is linked, or where None models with empty manifests are made up."""
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in _SOURCES:
            if (ROOT / name).is_dir():
                # Of reports/ only the captions: pages of a study that was run here are none of the sources.
                skipped = ["__pycache__", *(["study.*"] if name == "reports" else [])]
                shutil.copytree(ROOT / name, self.folder / name, ignore=shutil.ignore_patterns(*skipped))
            elif (ROOT / name).exists():
                shutil.copy2(ROOT / name, self.folder / name)
        if models:
            (self.folder / "models").symlink_to(models)
        else:
            for name in ("mini-sd", "mini-clip", "mini-classifier"):
                self.write(f"models/{name}/manifest.json", "{}")

    def echo(self):
        """Replace every script with outputs by one that writes down what its job was told and read."""
        for script in (self.folder / "workflow/scripts").glob("*.py"):
            if script.stem != "plan":
                script.write_text(_ECHO)
        return self

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def replace(self, name, old, new):
        """Replace a text that must be in a file."""
        text = (self.folder / name).read_text()
        assert old in text, f"{name} has no {old!r}"
        (self.folder / name).write_text(text.replace(old, new))

    def snakemake(self, *arguments, check=True, timeout=540, env=None):
        """Run Snakemake on the smoke study; its output and error as one text in `.stdout`."""
        if "--configfile" not in arguments:
            arguments = ("--configfile", "studies/smoke.yaml", "--cores", "2", *arguments)
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", *arguments],
            cwd=self.folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )
        if check:
            assert done.returncode == 0, done.stdout
        return done

    def jobs(self, *arguments):
        """What a dry run would do: {(rule, first output)}, targets left out."""
        text = self.snakemake("--dry-run", *arguments).stdout
        found = set()
        for rule, body in _JOB.findall(text):
            if output := re.search(r"^    output: ([^,\n]+)", body, re.MULTILINE):
                found.add((rule, output[1]))
        return found

    def rules(self, *arguments):
        """{rule: number of jobs} of a dry run."""
        counts = {}
        for rule, _ in self.jobs(*arguments):
            counts[rule] = counts.get(rule, 0) + 1
        return counts

    def files(self):
        """{path: (content, modification time)} of all results."""
        return {
            path.relative_to(self.folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
            for top in ("resources", "results")
            for path in sorted((self.folder / top).rglob("*"))
            if path.is_file() and "benchmarks" not in path.parts
        }
