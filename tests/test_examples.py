import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_example_runs(path):
    run = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=600,
                         env=os.environ | {"PYTHONPATH": str(path.parent.parent)})
    assert run.returncode == 0, run.stderr
    assert "E = " in run.stdout
