"""Where labels are calculated: Dask workers on this machine, behind a scheduler's address, or in SLURM jobs."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

import dask
from distributed import CancelledError, Client, KilledWorker, LocalCluster, as_completed
from pyscf import lib

from pyscf_mlguess.extras import how_to_install
from pyscf_mlguess.labels.calculation import LabelError
from pyscf_mlguess.labels.inputs import Task
from pyscf_mlguess.molecules.label import Label
from pyscf_mlguess.molecules.label_files import Failure

# Tasks of every worker thread that the scheduler holds at a time.
_IN_FLIGHT = 4
_RETRIES = 2
_LOST = "the scheduler was lost; what is finished is kept, and the same command goes on"
# Ctrl-C is for the process that gathers; the workers end with it.
_IGNORE_CTRL_C = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def connected(jobs: int = 1, scheduler: str | None = None, slurm: int | None = None) -> Iterator[Client]:
    """A client of the scheduler at that address, of ``slurm`` jobs, or else of ``jobs`` processes of this machine.

    SLURM jobs take what the user's Dask configuration says of them (jobqueue.slurm), one process a core, and are
    replaced when they end.  Raises ValueError where that cannot work, OSError for a scheduler out of reach.
    """
    if scheduler:
        with Client(scheduler) as client:
            yield client
        return
    # No task waits behind another one in a worker: one that kills its worker is known for it.
    with dask.config.set({"distributed.scheduler.worker-saturation": 1.0}):
        with _slurm_cluster(slurm) if slurm else _local_cluster(jobs) as cluster, Client(cluster) as client:
            yield client


def label_tasks(client: Client, tasks: Iterator[Task]) -> Iterator[Label | Failure]:
    """The results as they come; a few tasks a worker are in flight at a time.

    Tasks of a worker that dies run again on another one.  One under which workers die again and again is tried once
    more when all others are done, with nothing beside it, and is a failure then.
    Raises ConnectionError when the scheduler is lost or the workers cannot run this package.
    """
    running, waiting, suspects = as_completed(loop=client.loop), {}, []

    def submit():
        room = _IN_FLIGHT * max(1, _threads(client)) - len(waiting)
        for task in islice(tasks, max(0, room)):
            future = _submit(client, task)
            waiting[future.key] = task
            running.add(future)

    tasks = iter(tasks)
    submit()
    for future in running:
        task = waiting.pop(future.key)
        try:
            yield _result(future)
        except KilledWorker:
            suspects.append(task)
        submit()
    for task in suspects:
        try:
            yield _result(_submit(client, task))
        except KilledWorker as error:
            yield task.failure(f"its worker processes died again and again (out of memory?): {error}")


def _threads(client):
    try:
        return sum(client.nthreads().values())
    except OSError:
        raise ConnectionError(_LOST) from None


def _submit(client, task):
    return client.submit(_label, task, pure=False, retries=_RETRIES)


def _label(task: Task) -> Label | Failure:
    """What a worker does: one molecule on one thread; no error of it is one of the workers."""
    with lib.with_omp_threads(1):
        try:
            return task.label()
        except LabelError as error:
            return task.failure(str(error))
        except Exception as error:
            return task.failure(f"{type(error).__name__}: {error}")


def _result(future):
    try:
        return future.result()
    except KilledWorker:
        raise
    except CancelledError:
        raise ConnectionError(_LOST) from None
    except Exception as error:
        # Errors of the molecule are results: this one is of the worker, such as a package that it lacks.
        raise ConnectionError(f"a worker failed: {type(error).__name__}: {error}") from None


def _local_cluster(jobs):
    # Even without a dashboard the scheduler serves HTTP; on a free port, so that several commands may run at a time.
    return LocalCluster(n_workers=jobs, threads_per_worker=1, processes=True, dashboard_address=None,
                        scheduler_kwargs={"dashboard_address": ":0"}, silence_logs=logging.CRITICAL,
                        env=dict.fromkeys(_THREADS, "1"), preload=_IGNORE_CTRL_C)


def _slurm_cluster(jobs):
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError:
        raise ValueError(f"SLURM jobs need dask-jobqueue: {how_to_install('cluster')}") from None
    if not shutil.which("sbatch"):
        raise ValueError("SLURM jobs need the command sbatch, which is not here; start this on a login node")
    # A calculation has one thread: one process a core.
    cluster = SLURMCluster(processes=dask.config.get("jobqueue.slurm.cores"))
    cluster.adapt(minimum_jobs=jobs, maximum_jobs=jobs)
    return cluster
