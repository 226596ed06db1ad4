"""Many molecules on a cluster, by Dask: two-level SCFs of a list, and labels to train on.

Needs `pip install pyscf-mlguess[train]`. Two processes of this machine stand for the cluster; for a SLURM queue put
`dask_jobqueue.SLURMCluster(...)` there, or for labels alone `mlguess label ... --slurm 8`.
"""

from pathlib import Path

from dask.distributed import Client, LocalCluster, as_completed
from pyscf import dft

from pyscf_mlguess import two_level
from pyscf_mlguess.cli import app
from pyscf_mlguess.molecules.files import read_molecules

SMILES = ["CO", "CC=O", "NC=O", "C1CO1", "CC#N", "OC=O"]


def energy(molecule):
    """Runs on a worker."""
    mf = two_level(dft.RKS(molecule.mol("def2-svp"), xc="pbe").density_fit()).run()
    return molecule.name, mf.e_tot, mf.cycles + 1


def main():
    listed = Path("molecules.smi")
    listed.write_text("".join(f"{smiles} {smiles}\n" for smiles in SMILES))
    molecules, _ = read_molecules(listed)
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        for future in as_completed(client.map(energy, molecules)):
            name, total, builds = future.result()
            print(f"{name:6} E = {total:.9f} Eh, {builds} Fock builds")

        # What is done stays done: after a kill, or with more molecules in the list, the same command goes on.
        app(["label", str(listed), "--scheduler", cluster.scheduler_address, "--output", "labels.h5"],
            standalone_mode=False)


if __name__ == "__main__":
    main()
