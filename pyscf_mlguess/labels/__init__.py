"""Labels: molecules -> converged reference calculations -> HDF5."""
