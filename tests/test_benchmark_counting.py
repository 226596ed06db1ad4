"""Fock builds are counted as they happen, and what a run shows on its way is PySCF's own."""

import numpy as np
import pytest
from benchmark_runs import H2, HF_STO3G, OH, WATER, run
from pyscf import scf

from pyscf_mlguess.benchmark import observation
from pyscf_mlguess.benchmark.counting import BuildCounter, counting_builds
from pyscf_mlguess.benchmark.observation import observing
from pyscf_mlguess.benchmark.protocol import Protocol


class _HandMade:
    """Calls in the order of PySCF: get_veff asks get_jk, which asks the density-fitting object."""

    def __init__(self, with_df=None):
        self.with_df = with_df

    def get_veff(self, mol=None, dm=None):
        return self.get_jk(mol, dm)

    def get_jk(self, mol=None, dm=None, hermi=1, with_j=True, with_k=True):
        return self.with_df.get_jk(dm, hermi, with_j, with_k) if self.with_df else "jk"

    def gen_response(self, mo_coeff=None):
        return lambda dm: self.get_jk(None, dm, with_k=False)


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


def test_a_response_is_a_build_without_exchange_too():
    mf = _HandMade(_DensityFitting())
    with counting_builds(mf) as counter:
        response = mf.gen_response()
        assert counter.builds == 0
        assert response(None) == response(None) == "jk" and counter.builds == 2


def test_a_wrapped_object_is_counted_with_its_wrapper():
    mf = _HandMade(_DensityFitting())
    mf._scf = _HandMade(mf.with_df)
    with counting_builds(mf) as counter:
        mf._scf.get_veff()
        mf.get_jk()
        mf._scf.get_jk(with_k=False)
        assert counter.builds == 2
    assert set(vars(mf)) == {"with_df", "_scf"} and set(vars(mf._scf)) == {"with_df"}


def test_who_asks_is_told_before_each_build():
    mf, told = _HandMade(_DensityFitting()), []
    with counting_builds(mf, lambda: told.append("build")) as counter:
        mf.get_jk(with_k=False)
        assert not told
        mf.get_veff()
        mf.get_jk()
    assert told == ["build"] * counter.builds == ["build"] * 2


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
    (OH, Protocol(xc="hf", basis="sto-3g", restricted_open=True)),
])
def test_a_converged_run_makes_two_builds_more_than_cycles(molecule, protocol):
    row, dm = run(molecule, "minao", protocol)
    assert row["converged"] and row["error"] is None and row["refused"] is None
    assert row["cycles"] > 1
    assert row["scf_builds"] == row["cycles"] + 2
    assert row["guess_builds"] == 0
    nao = molecule.mol(protocol.basis).nao
    assert row["nao"] == nao
    assert dm.shape == ((nao, nao) if molecule.multiplicity == 1 else (2, nao, nao))


@pytest.mark.parametrize("molecule, make", [(WATER, scf.RHF), (OH, scf.UHF)])
def test_energy_and_gradient_of_the_guess_are_pyscfs(molecule, make):
    mf = make(molecule.mol("6-31g"))
    occupied = make(molecule.mol("6-31g")).run(max_cycle=1)
    dm = occupied.make_rdm1()
    with observing(mf) as seen:
        mf.kernel(dm0=dm)
    fock = occupied.get_fock(dm=dm)
    assert seen.initial_energy == pytest.approx(occupied.energy_tot(dm), abs=1e-9)
    expected = np.linalg.norm(occupied.get_grad(occupied.mo_coeff, occupied.mo_occ, fock))
    assert seen.initial_gradient(mf.get_ovlp()) == pytest.approx(expected, rel=1e-6)
    assert len(seen.curve) == mf.cycles
    assert abs(seen.curve[-1][0] - mf.e_tot) < 1e-8 and seen.curve[-1][1] < 1e-4
    assert mf.callback is None and "energy_tot" not in vars(mf)


def test_a_run_that_never_started_has_no_gradient():
    assert observation.Observation().initial_gradient(np.eye(2)) is None


def test_peak_memory_is_that_of_the_run():
    if not observation.reset_peak_memory():
        pytest.skip("only Linux resets the peak")
    before = observation.peak_memory_mb()
    np.ones(2**23)  # 64 MB
    assert 50 < observation.peak_memory_mb() - before < 90
    assert observation.reset_peak_memory() and observation.peak_memory_mb() < before + 40


def test_rows_tell_times_and_integrals():
    row, _ = run(H2, "minao")
    assert row["integrals"] == "in-core"
    assert row["wall"]["scf"] > 0 and row["wall"]["guess"] > 0 and row["wall"]["model"] == 0
    assert 0 < row["wall"]["build"] < row["wall"]["scf"]
    assert row["cpu"].keys() == row["wall"].keys()
    if row["peak_memory_mb"]:
        assert 0 < row["resident_mb"]["before"] <= row["peak_memory_mb"] + 1
        assert row["resident_mb"].keys() == {"before", "after_guess", "after"}
    assert run(H2, "minao", Protocol(xc="hf", basis="sto-3g"))[0]["integrals"] == "density-fitted"
