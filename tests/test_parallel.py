"""Threads of our own, and BLAS in one of them meanwhile."""

from threading import Barrier, Thread

import numpy as np
import pytest
from pyscf import dft, lib
from threadpoolctl import threadpool_info, threadpool_limits

from pyscf_mlguess.cheap.problem import CheapProblem
from pyscf_mlguess.parallel import in_threads, shares, single_blas


def blas_threads():
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_blas_has_its_threads_back_whoever_leaves_first():
    with threadpool_limits(limits=2, user_api="blas"):
        before = blas_threads()
        inside, left = Barrier(2), Barrier(2)

        def other():
            with single_blas():
                inside.wait()
                left.wait()

        thread = Thread(target=other)
        with single_blas():
            assert blas_threads() == {1}
            thread.start()
            inside.wait()
        left.wait()
        thread.join()
        assert blas_threads() == before
        with single_blas(), single_blas():
            assert blas_threads() == {1}
        assert blas_threads() == before


def test_blas_has_its_threads_back_after_an_error():
    before = blas_threads()
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda item: 1 / item, [1, 0])
    assert blas_threads() == before


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_block_is_dealt_out_once(threads):
    with lib.with_omp_threads(threads):
        for blocks in (0, 1, 5):
            dealt = shares(blocks)
            assert len(dealt) <= threads and sorted(k for share in dealt for k in share) == list(range(blocks))
        assert in_threads(lambda item: item**2, range(7)) == [k**2 for k in range(7)]


@pytest.mark.parametrize("xc", ["pbe", "b3lyp"])
def test_the_fock_matrix_is_that_of_one_thread(xc, formamide, monkeypatch):
    # Several blocks of the tensor, so that there is something to deal out.
    monkeypatch.setattr("pyscf_mlguess.density_fitting.tensor._BLOCK_BYTES", 4e5)
    mf = dft.UKS(formamide, xc=xc).density_fit()
    matrices = []
    for threads in (1, 2):
        with lib.with_omp_threads(threads):
            problem = CheapProblem(mf, precise=True)
            matrices.append(problem.fock(problem.state_of(mf.get_init_guess(key="minao"))))
    assert np.abs(matrices[0] - matrices[1]).max() < 1e-10
