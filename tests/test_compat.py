"""The torchvision mend: everything imports, whatever torchvision was built for."""

import subprocess
import sys

CODE = """
from holdfast.compat import ensure_torchvision
ensure_torchvision()
ensure_torchvision()
import torch, torchvision
from torchvision import transforms
from PIL import Image
assert transforms.Resize(4)(Image.new("RGB", (8, 8))).size == (4, 4)
assert hasattr(torch.ops.torchvision, "nms")
"""


def test_torchvision_imports_and_resizes_in_a_fresh_process():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
