"""mlguess enable: the learned guess in every PySCF of a user, seen from fresh processes, and no trace after disable."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import assert_clear_error, mlguess
from conftest import WATER

from pyscf_mlguess import configuration

ROOT = Path(__file__).parents[1]
RUN = f"""
import io, json
mol = gto.M(atom={WATER!r}, basis="sto-3g", verbose=3)
mol.stdout = io.StringIO()
mf = dft.RKS(mol, xc="pbe").set(verbose=4)
mf.grids.level = 0
mf.kernel()
log = mf.stdout.getvalue()
print(json.dumps({{"guess": mf.init_guess, "learned": "guess from the model" in log, "cycles": mf.cycles,
                   "plain": "initial guess = minao" in log, "energy": mf.e_tot,
                   "two_level": "two-level SCF" in log, "class": type(mf).__name__}}))
"""
IMPORTS = {
    "from pyscf import scf": "from pyscf import dft, gto, scf",
    "import pyscf": "import pyscf; from pyscf import dft, gto",
    "a module first": "import pyscf.scf.uhf; from pyscf import dft, gto",
    "the plugin first": "import pyscf_mlguess; from pyscf import dft, gto",
    "the plugin afterwards": "from pyscf import dft, gto; import pyscf_mlguess",
}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("PYSCF_CONFIG_FILE", raising=False)
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def file(home):
    return home / ".pyscf_conf.py"


def python(code, *options, **environment):
    paths = os.pathsep.join(filter(None, (environment.pop("first", ""), str(ROOT))))
    return subprocess.run([sys.executable, *options, "-c", code], capture_output=True, text=True, timeout=120,
                          env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"} | environment)


def result_of(code, *options, **environment):
    run = python(code, *options, **environment)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1]), run.stderr


def test_without_it_pyscf_is_plain():
    found, errors = result_of(IMPORTS["import pyscf"] + RUN)
    assert found["guess"] == "minao" and found["plain"] and not found["two_level"] and errors == ""


@pytest.mark.parametrize("order", IMPORTS)
def test_every_import_finds_it(order):
    assert mlguess("enable").exit_code == 0
    found, errors = result_of(IMPORTS[order] + RUN, "-W", "error::UserWarning")
    assert found["guess"] == "ml" and found["learned"] and not found["two_level"] and errors == ""


@pytest.mark.parametrize("order", ["from pyscf import scf", "the plugin first"])
def test_two_level(order):
    plain, _ = result_of(IMPORTS[order] + RUN)
    assert mlguess("enable", "--two-level").exit_code == 0
    found, errors = result_of(IMPORTS[order] + RUN, "-W", "error::UserWarning")
    assert found["two_level"] and found["cycles"] <= 2 and found["class"] == "RKS" and errors == ""
    assert found["energy"] == pytest.approx(plain["energy"], abs=1e-8)


def test_scripts_notebooks_and_workers(tmp_path):
    mlguess("enable")
    script = tmp_path / "script.py"
    script.write_text(IMPORTS["import pyscf"] + RUN)
    for command in ([sys.executable, script], [sys.executable, "-m", "IPython", "--no-banner", script]):
        run = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path,
                             env=os.environ | {"PYTHONPATH": str(ROOT)})
        if "No module named IPython" not in run.stderr:
            assert '"learned": true' in run.stdout, run.stderr
    code = ("import multiprocessing\nfrom pyscf.scf import hf\n"
            "def default(_):\n    return hf.SCF.init_guess, hasattr(hf.SCF.get_init_guess, '__wrapped__')\n"
            "if __name__ == '__main__':\n    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
            "        print(pool.map(default, [0]))")
    script.write_text(code)
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120,
                         env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert run.stdout.strip() == "[('ml', True)]", run.stderr


def test_only_a_guess_that_nobody_has_set():
    mlguess("enable")
    code = IMPORTS["import pyscf"] + RUN.replace("mf.kernel()", "mf.set(init_guess='minao').kernel()")
    assert result_of(code)[0]["plain"]


def test_what_a_default_does_not_serve_is_a_line_and_no_warning():
    mlguess("enable", "--two-level")
    code = ("from pyscf import gto, scf\nmol = gto.M(atom='He', basis='6-31g', verbose=3)\n"
            "for make in (scf.GHF, scf.DHF, lambda mol: scf.RHF(mol).newton()):\n    make(mol).kernel()\n")
    run = python(code, "-W", "error")
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("plain PySCF runs") == 3
    assert run.stdout.count("'ml' refused, falling back to refined minao") == 3
    assert run.stderr == ""


def test_the_way_back_in_a_process():
    mlguess("enable", "--two-level")
    code = IMPORTS["import pyscf"] + "\nimport pyscf_mlguess; pyscf_mlguess.unregister()" + RUN
    found, _ = result_of(code)
    assert found["guess"] == "minao" and found["plain"] and not found["two_level"]
    again, _ = result_of(code.replace("unregister()", "unregister(); pyscf_mlguess.register()"))
    assert again["guess"] == "ml" and again["learned"] and again["two_level"]


class TestNothingBreaksPySCF:
    """The package is gone, damaged or of another kind: one warning on stderr, and plain PySCF."""

    @pytest.mark.parametrize("how", ["uninstalled", "damaged", "damaged later"])
    @pytest.mark.parametrize("options", [(), ("-W", "error")], ids=["", "warnings are errors"])
    def test_at_import(self, how, options, tmp_path):
        mlguess("enable", "--two-level")
        if how == "damaged":
            (tmp_path / "first" / "pyscf_mlguess").mkdir(parents=True)
            (tmp_path / "first" / "pyscf_mlguess" / "__init__.py").write_text("raise RuntimeError('no such library')")
        missing = {"uninstalled": "pyscf_mlguess", "damaged later": "pyscf_mlguess.hook"}.get(how)
        code = (f"import sys; sys.modules[{missing!r}] = None\n" if missing else "") + IMPORTS["import pyscf"] + RUN
        found, errors = result_of(code, *options, first=str(tmp_path / "first"))
        assert found["guess"] == "minao" and found["plain"] and not found["two_level"]
        assert errors.count("Warning: pyscf_mlguess") == 1 and "plain PySCF runs" in errors

    def test_when_it_is_needed(self):
        mlguess("enable")
        code = "import sys; sys.modules['pyscf_mlguess.models'] = None\n" + IMPORTS["import pyscf"] + RUN
        found, errors = result_of(code)
        assert not found["learned"] and found["cycles"] > 0
        assert errors.count("falling back to minao: ModuleNotFoundError") == 1

    def test_the_plugin_imported_by_hand_in_that_file(self, file):
        file.write_text("import pyscf_mlguess\npyscf_mlguess.register()\nscf_hf_SCF_init_guess = 'ml'\n")
        for order in ("import pyscf", "the plugin first"):
            found, errors = result_of(IMPORTS[order] + RUN)
            assert found["learned"] and errors == ""


class TestTheFile:
    @pytest.mark.parametrize("content", [None, b"", b"VERBOSE = 4\n", b"VERBOSE = 4", b"# \xc3\xa4\r\nVERBOSE = 4\r\n"])
    def test_it_is_restored_to_the_byte(self, content, file):
        if content is not None:
            file.write_bytes(content)
        for options in ((), (), ("--two-level",)):
            assert mlguess("enable", *options).exit_code == 0
            assert file.read_bytes().startswith(content or b"") and file.read_bytes().count(b">>> mlguess") == 1
        assert mlguess("disable").exit_code == 0
        assert file.read_bytes() == content if content is not None else not file.exists()
        assert mlguess("disable").output.startswith("already off")

    @pytest.mark.parametrize("content", [None, b"VERBOSE = 4"])
    def test_what_the_user_adds_meanwhile_stays(self, content, file):
        if content:
            file.write_bytes(content)
        mlguess("enable")
        with file.open("ab") as stream:
            stream.write(b"MAX_MEMORY = 1000\n")
        mlguess("disable")
        assert file.read_bytes() == (content + b"\n" if content else b"") + b"MAX_MEMORY = 1000\n"

    def test_enabling_twice_writes_once(self, file):
        mlguess("enable")
        written = file.read_bytes()
        assert mlguess("enable").output.startswith("already on") and file.read_bytes() == written

    def test_a_link_and_permissions_stay(self, file, tmp_path):
        (tmp_path / "dotfiles.py").write_text("VERBOSE = 4\n")
        (tmp_path / "dotfiles.py").chmod(0o600)
        file.symlink_to(tmp_path / "dotfiles.py")
        mlguess("enable")
        assert file.is_symlink() and (tmp_path / "dotfiles.py").stat().st_mode & 0o777 == 0o600
        mlguess("disable")
        assert file.is_symlink() and file.read_text() == "VERBOSE = 4\n"

    def test_a_damaged_block_is_an_error_and_stays(self, file):
        mlguess("enable")
        text = file.read_text().replace("# <<< mlguess enable <<<", "")
        file.write_text(text)
        for command in (("enable",), ("disable",), ("enable", "--status")):
            assert_clear_error(mlguess(*command), str(file), "by hand")
        assert file.read_text() == text

    def test_a_home_that_cannot_be_written(self, home, file, monkeypatch):
        monkeypatch.setenv("HOME", str(home / "nowhere"))
        assert_clear_error(mlguess("enable"), "nowhere")
        monkeypatch.setenv("HOME", str(home))
        file.write_text("VERBOSE = 4\n")
        home.chmod(0o500)
        try:
            if not os.access(home, os.W_OK):  # root may write
                assert_clear_error(mlguess("enable"), "Permission denied", str(home))
        finally:
            home.chmod(0o700)
        assert file.read_text() == "VERBOSE = 4\n" and os.listdir(home) == [file.name]

    def test_odd_names_of_folders(self, home, monkeypatch):
        odd = home / "a{b}'\"ä"
        odd.mkdir()
        monkeypatch.setenv("HOME", str(odd))
        mlguess("enable")
        _, errors = result_of("import sys; sys.modules['pyscf_mlguess'] = None\n" + IMPORTS["import pyscf"] + RUN)
        assert "a{b}" in errors


class TestMessages:
    def test_they_say_what_where_and_how_to_undo(self, file):
        assert mlguess("enable", "--status").output == f"off: nothing of pyscf_mlguess in {file}\n"
        output = mlguess("enable").output
        assert output.startswith(f"on, by {file}: init_guess = 'ml'") and "mlguess disable" in output
        assert mlguess("enable", "--status").output == f"on, by {file}: init_guess = 'ml'\n"
        assert "two-level" in mlguess("enable", "--two-level").output
        assert mlguess("enable", "--status").output.endswith("and the two-level SCF\n")
        assert mlguess("disable").output == f"off: taken out of {file}\n"

    def test_the_file_that_pyscf_is_told_to_read(self, tmp_path, monkeypatch, file):
        named = tmp_path / "mine.py"
        monkeypatch.setenv("PYSCF_CONFIG_FILE", str(named))
        assert str(named) in mlguess("enable").output and named.exists() and not file.exists()
        assert result_of(IMPORTS["import pyscf"] + RUN)[0]["learned"]

    def test_a_file_in_this_folder_that_pyscf_reads_instead(self, tmp_path):
        here = tmp_path / ".pyscf_conf.py"
        here.write_text("VERBOSE = 4\n")
        assert f"PySCF reads {here} instead" in mlguess("enable").output
        assert configuration.in_the_way() == here and here.read_text() == "VERBOSE = 4\n"
        assert result_of(IMPORTS["import pyscf"] + RUN)[0]["guess"] == "minao"
