"""Cycles are counted, kept and summed up as they happened."""

import json
import math
import types

import numpy as np
import pytest

import pyscf_mlguess
from pyscf_mlguess.benchmark import runner
from pyscf_mlguess.benchmark.counting import BuildCounter, counting_builds
from pyscf_mlguess.benchmark.molecules import Molecule
from pyscf_mlguess.benchmark.protocol import Protocol
from pyscf_mlguess.benchmark.report import markdown, summarise
from pyscf_mlguess.benchmark.results import append_row, read_rows
from pyscf_mlguess.benchmark.runner import run_benchmark, run_guess
from pyscf_mlguess.gate import Refusal

H2 = Molecule("H2", ("H", "H"), ((0.0, 0.0, 0.0), (0.0, 0.0, 0.74)))
WATER = Molecule("water", ("O", "H", "H"), ((0.0, 0.0, 0.0), (0.0, 0.757, 0.587), (0.0, -0.757, 0.587)))
OH = Molecule("OH", ("O", "H"), ((0.0, 0.0, 0.0), (0.0, 0.0, 0.97)), multiplicity=2)
HF_STO3G = Protocol(xc="hf", basis="sto-3g", density_fit=False)


# -- counting --


class _HandMade:
    """Calls in the order of PySCF: get_veff asks get_jk, which asks the density-fitting object."""

    def __init__(self, with_df=None):
        self.with_df = with_df

    def get_veff(self, mol=None, dm=None):
        return self.get_jk(mol, dm)

    def get_jk(self, mol=None, dm=None, hermi=1, with_j=True, with_k=True):
        return self.with_df.get_jk(dm, hermi, with_j, with_k) if self.with_df else "jk"


class _DensityFitting:
    def get_jk(self, dm, hermi=1, with_j=True, with_k=True):
        return "jk"


def test_nested_calls_are_one_build():
    mf = _HandMade(_DensityFitting())
    with counting_builds(mf) as counter:
        assert mf.get_veff() == "jk"
        assert counter.builds == 1
        mf.get_jk()
        mf.with_df.get_jk(None)
        assert counter.builds == 3


def test_coulomb_alone_is_no_build():
    mf = _HandMade(_DensityFitting())
    with counting_builds(mf) as counter:
        mf.get_jk(with_k=False)
        mf.with_df.get_jk(None, 1, True, False)
        assert counter.builds == 0


def test_builds_count_after_a_failed_build():
    def get_veff():
        raise RuntimeError

    counter = BuildCounter()
    counted = counter.counted(get_veff)
    for _ in range(2):
        with pytest.raises(RuntimeError):
            counted()
    assert counter.builds == 2


def test_counting_leaves_the_object_as_it_was():
    mf = _HandMade(_DensityFitting())
    with counting_builds(mf):
        pass
    assert set(vars(mf)) == {"with_df"} and not vars(mf.with_df)


@pytest.mark.parametrize("molecule, protocol", [
    (WATER, HF_STO3G),
    (WATER, Protocol(basis="sto-3g", grid_level=0)),
    (OH, Protocol(xc="hf", basis="sto-3g")),
])
def test_a_converged_run_makes_two_builds_more_than_cycles(molecule, protocol):
    row, dm = run_guess(molecule, "minao", protocol)
    assert row["converged"] and row["error"] is None and row["refused"] is None
    assert row["cycles"] > 1
    assert row["scf_builds"] == row["cycles"] + 2
    assert row["guess_builds"] == 0
    nao = molecule.mol(protocol.basis).nao
    assert dm.shape == ((nao, nao) if molecule.multiplicity == 1 else (2, nao, nao))


def test_all_guesses_of_pyscf_reach_the_same_energy():
    energies = [run_guess(WATER, guess, HF_STO3G)[0]["energy"] for guess in runner.CLASSICAL]
    assert np.ptp(energies) < 1e-8


def test_tags_of_the_guess_reach_the_scf(monkeypatch):
    seen = []
    mf_class = type(HF_STO3G.mean_field(WATER.mol("sto-3g")))
    scf = mf_class.scf
    monkeypatch.setattr(mf_class, "scf", lambda self, dm0, **kwargs: seen.append(dm0) or scf(self, dm0, **kwargs))
    run_guess(WATER, "huckel", HF_STO3G)
    assert hasattr(seen[-1], "mo_coeff")  # the ones before are free atoms


def test_unconverged_counts_as_max_cycle_and_is_listed():
    protocol = Protocol(xc="hf", basis="sto-3g", density_fit=False, max_cycle=2)
    row, dm = run_guess(WATER, "minao", protocol)
    assert dm is None and not row["converged"] and row["energy"] is None and row["cycles"] == 2
    assert summarise([row])[0].failures == 1
    assert "- water, minao: not converged in 2 cycles" in markdown([row])


def test_a_guess_that_raises_counts_as_max_cycle_and_is_listed(monkeypatch):
    def fail(mf, guess, converged):
        raise RuntimeError("no such luck")

    monkeypatch.setattr(runner, "_initial_density", fail)
    row, _ = run_guess(WATER, "atom", HF_STO3G)
    assert row["cycles"] == 50 and row["error"] == "RuntimeError: no such luck"
    assert "- water, atom: failed, RuntimeError: no such luck" in markdown([row | {"guess": "minao"}, row])


def test_a_refused_guess_runs_from_minao_and_says_so(monkeypatch):
    def refuse(mf, key):
        raise Refusal("not today")

    monkeypatch.setattr(pyscf_mlguess, "pipeline", types.SimpleNamespace(initial_density_matrix=refuse), raising=False)
    model = types.SimpleNamespace(card={"sha256": "0123456789"})
    monkeypatch.setattr(runner, "load_model", lambda name: model)
    row, _ = run_guess(WATER, "ml", HF_STO3G)
    minao, _ = run_guess(WATER, "minao", HF_STO3G)
    assert row["converged"] and row["cycles"] == minao["cycles"]
    assert "not today" in row["refused"]
    assert summarise([minao, row])[1].refused == 1
    assert "- water, ml [01234567]: refused, " in markdown([minao, row])


def test_exact_fit_is_better_than_minao():
    pytest.importorskip("pyscf_mlguess.routes.auxiliary_density")
    protocol = Protocol(basis="def2-svp", grid_level=0)
    minao, dm = run_guess(WATER, "minao", protocol)
    oracle, _ = run_guess(WATER, "exact-fit", protocol, dm)
    assert oracle["error"] is None
    assert oracle["cycles"] < minao["cycles"]
    assert oracle["energy"] == pytest.approx(minao["energy"], abs=1e-8)


def test_exact_fit_without_a_density_fails_as_such():
    row, _ = run_guess(WATER, "exact-fit", HF_STO3G)
    assert "did not converge" in row["error"]


# -- suite and results file --


def test_resumes_after_a_kill_without_losing_or_repeating_a_run(tmp_path):
    output = tmp_path / "bench.jsonl"
    run_benchmark([H2, WATER], ["minao", "atom"], [HF_STO3G], output, progress=False)
    before = output.read_text().splitlines()
    assert len(before) == 4
    output.write_text("\n".join(before)[:-30])  # as a kill within a write leaves it
    run_benchmark([H2, WATER], ["minao", "atom", "huckel"], [HF_STO3G], output, progress=False)
    after = output.read_text().splitlines()
    assert after[:3] == before[:3]
    runs = sorted((row["molecule"], row["guess"]) for row in map(json.loads, after))
    assert runs == [(m, g) for m in ("H2", "water") for g in ("atom", "huckel", "minao")]


def test_a_finished_suite_runs_nothing(tmp_path, monkeypatch):
    output = tmp_path / "bench.jsonl"
    run_benchmark([H2], ["minao"], [HF_STO3G], output, progress=False)
    monkeypatch.setattr(runner, "run_guess", lambda *_: pytest.fail("ran again"))
    run_benchmark([H2], ["minao"], [HF_STO3G], output, progress=False)


def test_another_geometry_or_protocol_is_another_run(tmp_path):
    output = tmp_path / "bench.jsonl"
    moved = Molecule("H2", H2.symbols, ((0.0, 0.0, 0.0), (0.0, 0.0, 0.8)))
    for molecule, protocol in [(H2, HF_STO3G), (moved, HF_STO3G), (H2, Protocol(xc="hf", basis="sto-3g"))]:
        run_benchmark([molecule], ["minao"], [protocol], output, progress=False)
    assert len(read_rows(output)) == 3


def test_retrained_weights_are_run_again(tmp_path, monkeypatch):
    output = tmp_path / "bench.jsonl"
    minao = types.SimpleNamespace(initial_density_matrix=lambda mf, key: mf.get_init_guess(key="minao"))
    monkeypatch.setattr(pyscf_mlguess, "pipeline", minao, raising=False)
    for digest in ("a" * 64, "b" * 64, "b" * 64):
        model = types.SimpleNamespace(card={"sha256": digest})
        monkeypatch.setattr(runner, "load_model", lambda name, model=model: model)
        run_benchmark([H2], ["minao", "ml"], [HF_STO3G], output, progress=False)
    assert [s.guess for s in summarise(read_rows(output))] == ["minao", "ml [aaaaaaaa]", "ml [bbbbbbbb]"]


def test_jobs_give_the_same_rows(tmp_path):
    pytest.importorskip("joblib")
    rows = []
    for jobs in (1, 2):
        output = tmp_path / f"{jobs}.jsonl"
        run_benchmark([H2, WATER], ["minao"], [HF_STO3G], output, jobs=jobs, progress=False)
        rows.append(sorted((r["molecule"], r["cycles"], round(r["energy"], 8)) for r in read_rows(output)))
    assert rows[0] == rows[1]


def test_a_molecule_that_fails_does_not_end_the_suite(tmp_path):
    output = tmp_path / "bench.jsonl"
    collided = Molecule("collided", ("H", "H"), ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)))
    run_benchmark([collided, H2], ["minao"], [HF_STO3G], output, progress=False)
    failed, ran = read_rows(output)
    assert not failed["converged"] and failed["cycles"] == 50
    assert ran["converged"]


@pytest.mark.parametrize("guess", ["minao2", "exactfit", ""])
def test_an_unknown_guess_is_refused_before_anything_runs(tmp_path, guess):
    with pytest.raises(ValueError, match="unknown guess"):
        run_benchmark([H2], ["minao", guess], [HF_STO3G], tmp_path / "bench.jsonl")
    assert not (tmp_path / "bench.jsonl").exists()


@pytest.mark.parametrize("protocol, named", [
    (Protocol(xc="nonsense", basis="sto-3g"), "NONSENSE"), (Protocol(basis="nonsense"), "nonsense")])
def test_an_unknown_level_is_refused_before_anything_runs(tmp_path, protocol, named):
    with pytest.raises(ValueError, match=named):
        run_benchmark([H2], ["minao"], [protocol], tmp_path / "bench.jsonl")


def test_a_file_of_something_else_is_not_appended_to(tmp_path):
    output = tmp_path / "bench.jsonl"
    append_row(output, {"molecule": "H2"})
    with pytest.raises(ValueError, match="bench.jsonl, line 1"):
        read_rows(output)


# -- report --


def _row(molecule, guess, cycles, energy=-1.0, **other):
    return {"molecule": molecule, "fingerprint": "", "guess": guess, "weights": "", "protocol": vars(HF_STO3G),
            "natm": 2, "cycles": cycles, "converged": energy is not None, "energy": energy, "guess_builds": 0,
            "scf_builds": cycles + 2, "guess_seconds": 1.0, "scf_seconds": float(cycles), "refused": None,
            "error": None} | other


def test_summary_of_hand_made_rows():
    rows = [
        _row("a", "minao", 10), _row("a", "ml", 7, guess_builds=1),
        _row("b", "minao", 20), _row("b", "ml", 20, energy=-1.0 - 1e-3),
        _row("c", "minao", 10), _row("c", "ml", 50, energy=None, scf_seconds=None, error="RuntimeError: x"),
        _row("alone", "ml", 3),
    ]
    minao, ml = summarise(rows)
    assert (minao.cycles, minao.ratio_of_sums, minao.tied, minao.failures) == (40, 1.0, 3, 0)
    assert minao.worst_energy == pytest.approx(1e-3)
    assert (ml.runs, ml.cycles, ml.won, ml.tied, ml.lost, ml.failures) == (3, 78, 1, 1, 1, 1)
    assert ml.ratio_of_sums == pytest.approx(78 / 40)
    assert ml.mean_ratio == pytest.approx((0.8 + 1.0 + 5.0) / 3)
    assert ml.wall_ratio == pytest.approx((8 + 21) / (11 + 21))
    text = markdown(rows)
    assert "| ml | 3 | 78 | 1.950 | 2.267 |" in text
    assert "- b, minao: 1.0e-03 Eh above the lowest energy" in text
    assert "conv_tol=1e-09" in text


def test_protocols_are_not_mixed():
    other = vars(Protocol(xc="hf", basis="6-31g"))
    text = markdown([_row("a", "minao", 10), _row("a", "minao", 12) | {"protocol": other}])
    assert text.count("| minao | 1 |") == 2 and "### HF/sto-3g" in text and "### HF/6-31g" in text


def test_report_without_the_baseline_is_empty_and_not_an_error():
    assert summarise([_row("a", "ml", 10)]) == []
    assert math.isnan(summarise([_row("a", "minao", 50, energy=None)])[0].worst_energy)
