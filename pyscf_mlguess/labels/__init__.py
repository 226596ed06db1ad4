"""Labels: molecules -> converged densities -> HDF5."""
