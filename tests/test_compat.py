"""The torchvision mend: everything imports, whatever torchvision was built for."""

import subprocess
import sys

import pytest

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


def test_fast_imports_leave_the_collector_as_it_was():
    import gc

    from holdfast.compat import fast_imports

    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError), fast_imports():
        assert not gc.isenabled()
        1 / 0  # noqa: B018
    assert gc.isenabled()
    frozen = gc.get_freeze_count()
    with fast_imports():
        import json  # noqa: F401
    assert gc.get_freeze_count() == frozen  # nothing new was imported, so nothing may escape collection
