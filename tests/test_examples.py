import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))
# An hour and ten minutes are too long for a test.
SHORT = {"07_own_network": ("--molecules", "16", "--epochs", "2"),
         "11_own_chemistry": ("--molecules", "8", "--unseen", "1", "--size", "small")}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_example_runs(path, tmp_path):
    if path.stem == "07_own_network":
        pytest.importorskip("e3nn")
    run = subprocess.run([sys.executable, path, *SHORT.get(path.stem, ())], cwd=tmp_path, capture_output=True,
                         text=True, timeout=600, env=os.environ | {"PYTHONPATH": str(path.parent.parent)})
    assert run.returncode == 0, run.stderr
    assert "E = " in run.stdout
