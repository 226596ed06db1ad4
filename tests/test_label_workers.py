"""mlguess label goes on when workers, SLURM jobs or the command itself die."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from command_line import WATER, assert_clear_error, mlguess
from label_runs import FAST, FREE_PORT, alive, hydrogen, wait_for

from pyscf_mlguess.labels.collection import Collection
from pyscf_mlguess.labels.inputs import Settings, Task
from pyscf_mlguess.molecules.label_files import Failure, read_labels
from pyscf_mlguess.molecules.molecule import Molecule

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")
production = pytest.importorskip("pyscf_mlguess.labels.production")
workers = pytest.importorskip("pyscf_mlguess.labels.workers")


def task(kind=Task, distance=0.74):
    molecule = Molecule(f"h{distance}", ("H", "H"), ((0.0, 0.0, 0.0), (0.0, 0.0, distance)))
    return kind(molecule, (FAST,))


class Deadly(Task):
    """Kills its worker whenever it runs."""

    def label(self):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_killed_at_work_loses_no_label(cluster, tmp_path, monkeypatch):
    (tmp_path / "many.xyz").write_text(hydrogen(30))
    killed = []

    def kill():
        nannies = {nanny.worker_address: nanny for nanny in cluster.workers.values()}
        while not killed:
            for state in list(cluster.scheduler.workers.values()):
                if state.processing and state.address in nannies:
                    os.kill(nannies[state.address].process.process.pid, signal.SIGKILL)
                    killed.append(state.address)
                    break
            time.sleep(0.002)

    # Here workers die of bad luck: none of the tasks is to blame.
    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 3)
    killer = threading.Thread(target=kill)
    killer.start()
    result = mlguess("label", tmp_path / "many.xyz", "--level", FAST, "--output", tmp_path / "labels.h5",
                     "--scheduler", cluster.scheduler_address)
    killer.join()
    assert result.exit_code == 0 and "holds 30 labelled molecules and 0 failures" in result.output, result.output
    assert [each.name.partition("-")[0] for each in read_labels(tmp_path / "labels.h5")] == sorted(
        f"h{i}" for i in range(30))


def test_a_molecule_that_kills_its_workers_is_a_failure_and_stops_nothing(cluster):
    tasks = [task(distance=0.7), task(Deadly), *(task(distance=0.8 + 0.01 * i) for i in range(20))]
    with distributed.Client(cluster) as client:
        results = list(workers.label_tasks(client, iter(tasks)))
    (failure,) = [result for result in results if isinstance(result, Failure)]
    assert failure.name == "h0.74" and "died again and again" in failure.reason and failure.levels == "hf/sto-3g"
    assert len(results) == 22 and len({result.name for result in results}) == 22


def test_killed_it_keeps_what_is_finished(tmp_path):
    """SIGKILL at the first part: started again, that part is not calculated again, and no worker is left over."""
    (tmp_path / "many.xyz").write_text(hydrogen(1000))
    output, parts = tmp_path / "labels.h5", tmp_path / "labels.h5.parts"
    # A test run in the background is deaf to Ctrl-C, and so would be what it starts.
    listening = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    command = [sys.executable, "-c",
               listening + "from pyscf_mlguess.cli import app\nif __name__ == '__main__':\n    app()",
               "label", tmp_path / "many.xyz", "--level", "hf/sto-3g", "--output", output]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    wait_for(lambda: any(parts.glob("*.npz")), process)
    process.kill()
    process.wait()
    wait_for(lambda: not alive(process.pid))
    first = sorted(parts.glob("*.npz"))
    assert not output.exists() and 0 < len(first) < 1000
    times = [path.stat().st_mtime_ns for path in first]
    (parts / "half.4711").write_bytes(b"half")  # as a kill within a write leaves it
    (parts / f"{'0' * 32}.npz").write_bytes(b"")  # as a crash of the machine may leave it
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    wait_for(lambda: len(list(parts.glob("*.npz"))) > len(first) + 2, process)
    assert [path.stat().st_mtime_ns for path in first] == times
    # Ctrl-C reaches the whole foreground group.
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait() == 130
    assert len(first) < len(read_labels(output)) < 1000 and not parts.exists()
    wait_for(lambda: not alive(process.pid))


def test_slurm_jobs_are_replaced_when_they_end(tmp_path, monkeypatch):
    """A stand-in for sbatch starts the job script on this machine; the first job ends before there is work."""
    pytest.importorskip("dask_jobqueue")
    (tmp_path / "sbatch").write_text(f"""#!/bin/sh
        cp "$1" {tmp_path}/script
        setsid sh {tmp_path}/script > {tmp_path}/log 2>&1 &
        echo $! >> {tmp_path}/jobs
        echo "Submitted batch job $!"
    """)
    (tmp_path / "scancel").write_text('#!/bin/sh\nkill -- "-$1"\n')
    for name in ("sbatch", "scancel"):
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (Path(__file__).parents[1], Path(__file__).parent))))

    def jobs():
        return (tmp_path / "jobs").read_text().split()

    with dask.config.set({"jobqueue.slurm.cores": 1, "jobqueue.slurm.memory": "1GB", "jobqueue.slurm.interface": "lo",
                          "distributed.deploy.lost-worker-timeout": 0.1}), workers.connected(slurm=1) as client:
        wait_for(client.nthreads)
        os.killpg(int(jobs()[0]), signal.SIGKILL)
        wait_for(lambda: len(jobs()) == 2 and client.nthreads())
        (result,) = workers.label_tasks(client, iter([task()]))
        assert result.name == "h0.74" and "hf/sto-3g" in result.coefficients
    wait_for(lambda: not alive(int(jobs()[1])))


def test_workers_out_of_reach(tmp_path, monkeypatch):
    (tmp_path / "water.xyz").write_text(WATER)

    def error(*parts, options):
        result = mlguess("label", tmp_path / "water.xyz", "--output", tmp_path / "labels.h5", *options)
        assert_clear_error(result, *parts)

    with dask.config.set({"distributed.comm.timeouts.connect": 0.2}):
        error("127.0.0.1:1", options=("--scheduler", "tcp://127.0.0.1:1"))
    monkeypatch.setattr(workers.shutil, "which", lambda _: None)
    error("sbatch", options=("--slurm", 1))
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    error("the extra 'cluster', pip install '.[cluster]'", options=("--slurm", 1))
    assert [path.name for path in tmp_path.iterdir()] == ["water.xyz"]


def test_a_lost_scheduler_ends_the_run_and_keeps_what_is_finished(tmp_path, monkeypatch):
    (tmp_path / "many.xyz").write_text(hydrogen(30))
    started = distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None,
                                       scheduler_kwargs=FREE_PORT, silence_logs=logging.CRITICAL)
    keep = Collection.add_label
    monkeypatch.setattr(Collection, "add_label", lambda self, label: (keep(self, label), started.close()))
    with dask.config.set({"distributed.comm.timeouts.connect": 0.2}), pytest.raises(ConnectionError, match="lost"):
        production.produce([tmp_path / "many.xyz"], tmp_path / "labels.h5", Settings((FAST,)),
                           workers.connected(scheduler=started.scheduler_address), progress=False)
    assert 0 < len(read_labels(tmp_path / "labels.h5")) < 30
