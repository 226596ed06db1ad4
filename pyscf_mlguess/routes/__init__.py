"""Routes: how each kind of prediction becomes a density matrix in the user's AO basis."""
