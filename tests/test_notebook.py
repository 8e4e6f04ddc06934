"""docs/notebook.md runs as it is printed, with fewer pictures and steps, on the shipped models."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NUMBERS = "seeds, steps = 4, 300\n"


def test_the_notebook_edits_tunes_samples_and_scores(tmp_path):
    text = (ROOT / "docs" / "notebook.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert NUMBERS in code
    for folder in ("models", "edits"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    done = subprocess.run(
        [sys.executable, "-c", code.replace(NUMBERS, "seeds, steps = 1, 2\n")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    printed = re.findall(r"^\[(.*)\] efficacy ([\d.]+)$", done.stdout, re.MULTILINE)
    assert [deltas.count(".safetensors") for deltas, _ in printed] == [0, 1, 2]
    base, edited, _ = (float(share) for _, share in printed)
    assert base < 0.5 < edited
