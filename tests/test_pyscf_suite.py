"""The script that runs PySCF's own tests, on a small stand-in for a clone of its repository."""

import subprocess
import sys
from pathlib import Path

import pyscf_suite

MODULE = """
import unittest
from pyscf import dft, gto, scf

mol = gto.M(atom="O 0 0 0; H 0 -.757 .587; H 0 .757 .587", basis="6-31g", verbose=0)

class KnownValues(unittest.TestCase):
    def test_energy(self):
        self.assertAlmostEqual(scf.RHF(mol).run().e_tot, -75.98394849812, 6)

    def test_cycles(self):
        self.assertGreater(dft.RKS(mol, xc="lda").run().cycles, 5)

    def test_default(self):
        self.assertEqual(scf.hf.SCF.init_guess, "minao")

    def test_wrong(self):
        self.assertEqual(1, 2)
"""


def test_differences_are_found_and_only_they(tmp_path):
    folder = tmp_path / "pyscf" / "scf" / "test"
    folder.mkdir(parents=True)
    (tmp_path / "pyscf" / "__init__.py").write_text("raise ImportError('not the installed one')")
    (folder / "test_small.py").write_text(MODULE)
    run = subprocess.run([sys.executable, Path(pyscf_suite.__file__), tmp_path], capture_output=True, text=True)
    rows = [[cell.strip() for cell in line.split("|")[2:7]] for line in run.stdout.splitlines() if "test_small" in line]
    assert rows == [["test_cycles", "passed", "failed", "failed", "failed"],
                    ["test_default", "passed", "failed", "passed", "passed"]], run.stdout + run.stderr
    assert run.returncode == 1 and "plain: 3 passed, 1 failed" in run.stderr


def test_a_folder_without_tests_and_a_missing_module(tmp_path):
    for names, said in (((), "no tests in"), (("scf/test/test_none.py",), "no such test module")):
        run = subprocess.run([sys.executable, Path(pyscf_suite.__file__), tmp_path, *names], capture_output=True,
                             text=True)
        assert run.returncode == 1 and said in run.stderr
