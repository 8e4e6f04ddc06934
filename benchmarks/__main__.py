"""Holdfast against what a user would write otherwise; `make bench` runs it and writes benchmarks/RESULTS.md."""

import argparse
import shlex
import sys
from pathlib import Path

from benchmarks import refact, sampling, timing, tuning, uce
from holdfast import artifacts
from holdfast.compat import ensure_torchvision
from holdfast.errors import HoldfastError


def main():
    """Run the benchmarks and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/mini-sd"), help="diffusers folder to sample from")
    parser.add_argument("--edits", type=Path, default=Path("edits/miniature.csv"), help="table that gives the prompts")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/RESULTS.md"))
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--concepts", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="threads of torch; a study's job on a CPU has one")
    options = parser.parse_args()
    ensure_torchvision()
    import torch

    torch.set_num_threads(options.threads)
    try:
        sections = [
            sampling.run(options.model, options.edits, options.repeats, options.pictures),
            uce.run(options.concepts, options.repeats),
            refact.run(options.model, repeats=options.repeats),
            tuning.run(options.model, options.repeats),
        ]
    except HoldfastError as error:
        sys.exit(str(error))
    command = shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])
    head = ["# Benchmarks", "", f"Made by `{command}` on {timing.machine(options.threads)}.", ""]
    artifacts.write_text(options.output, "\n".join([*head, *sections]))
    print(options.output.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
