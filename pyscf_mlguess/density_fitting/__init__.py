"""Density fitting: auxiliary basis, free atoms, Coulomb metric and three-centre integrals; the only J and K here."""
