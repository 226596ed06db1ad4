"""The checks are judged on molecules whose learned guess is known to be bad, and on ones where it is good."""

import numpy as np
import pytest
from pyscf import dft, gto

from pyscf_mlguess import gate, pipeline
from pyscf_mlguess.refusal import Refusal
from pyscf_mlguess.routes import auxiliary_density

BAD = {
    "radical cation of few atoms": (("O 0 0 0; H 0 .757 .587; H 0 -.757 .587", 1, 1), "electrons"),
    "ionic, half of it unknown": (("Xe 0 0 0; F 0 0 1.88", 0, 1), "does not know 1 of the 2 atoms"),
    "small gap": (("C 0 0 0; C 0 0 1.24", 0), "frontier gap"),
}
METALS = {
    "Pd": "Pd 0 0 0; C 0 0 1.98; H 1.03 0 2.35; H -.51 .89 2.35; H -.51 -.89 2.35; "
          "C 0 0 -1.98; H 1.03 0 -2.35; H -.51 .89 -2.35; H -.51 -.89 -2.35",
    "Ti": "Ti 0 0 0; Cl 1.25 1.25 1.25; Cl -1.25 -1.25 1.25; Cl -1.25 1.25 -1.25; Cl 1.25 -1.25 -1.25",
}
GOOD = {
    "water": ("O 0 0 0; H 0 .757 .587; H 0 -.757 .587", 0),
    "radical cation, its density corrected": ("N 0 0 0; H 0 1.02 0; H .885 -.51 0; H -.885 -.51 0", 1, 1),
    "methoxyl, whose gap is small": ("O 0 0 1.37; C 0 0 0; H 1.03 0 -.37; H -.515 .892 -.37; H -.515 -.892 -.37", 1),
    "methyl radical": ("C 0 0 0; H 0 1.08 0; H .935 -.54 0; H -.935 -.54 0", 1),
    "one unknown element": ("At 0 0 -2.21; C 0 0 0; H 1.03 0 .35; H -.51 .89 .35; H -.51 -.89 .35", 0),
    "selenium": ("Se 0 0 0; H 1.45 0 -.2; C 0 0 2.0; H 1.03 0 2.35; H -.51 .89 2.35; H -.51 -.89 2.35", 0),
    "zinc": ("Zn 0 0 0; C 0 0 1.93; H 1.03 0 2.3; H -.51 .89 2.3; H -.51 -.89 2.3; "
             "C 0 0 -1.93; H 1.03 0 -2.3; H -.51 .89 -2.3; H -.51 -.89 -2.3", 0),
    "lithium fluoride": ("Li 0 0 0; F 0 0 1.56", 0),
    "titanium": (METALS["Ti"], 0),
}


def mean_field(atoms, spin, charge=0):
    mol = gto.M(atom=atoms, basis="def2-svp", ecp="def2-svp", spin=spin, charge=charge, verbose=0)
    return dft.KS(mol, xc="pbe").density_fit()


@pytest.mark.parametrize("case", BAD)
def test_bad_guesses_are_refused_for_what_they_are(case):
    molecule, reason = BAD[case]
    with pytest.raises(Refusal, match=reason):
        pipeline.initial_density_matrix(mean_field(*molecule))


@pytest.mark.parametrize("metal", METALS)
def test_the_free_atom_of_a_transition_metal_is_no_start(metal):
    with pytest.raises(Refusal, match=f"linear-ace-4 does not know {metal}"):
        pipeline.initial_density_matrix(mean_field(METALS[metal], 0), "linear-ace-4")


@pytest.mark.parametrize("case", GOOD)
def test_good_guesses_pass_and_are_good(case):
    minao, learned = (mean_field(*GOOD[case]).set(init_guess=key).run() for key in ("minao", "ml"))
    assert learned.converged and learned.cycles <= minao.cycles
    assert learned.e_tot == pytest.approx(minao.e_tot, abs=1e-6)


@pytest.mark.parametrize("where, limit, value, message", [
    (auxiliary_density, "MOST_ELECTRONS_MISSING", -1.0, "electrons too (few|many)"),
    (auxiliary_density, "MOST_NEGATIVE_ELECTRONS", -1.0, "negative"),
    (auxiliary_density, "SMALLEST_GAP", 10.0, "frontier gap"), (gate, "MOST_NOVELTY", 0.0, "surroundings of atom"),
    (gate, "MOST_UNKNOWN", 0.0, "does not know"),
])
def test_each_check_can_fail(where, limit, value, message, monkeypatch):
    monkeypatch.setattr(where, limit, value)
    with pytest.raises(Refusal, match=message):
        pipeline.initial_density_matrix(mean_field(*GOOD["water"]))


def test_predictions_that_are_not_finite_are_refused(monkeypatch):
    from pyscf_mlguess.models.linear_density.model import LinearDensity

    predict = LinearDensity.predict

    def broken(self, structure, level):
        prediction = predict(self, structure, level)
        prediction.blocks[1][0][0, 0] = np.nan
        return prediction

    monkeypatch.setattr(LinearDensity, "predict", broken)
    with pytest.raises(Refusal, match="atom 1 is not finite"):
        pipeline.initial_density_matrix(mean_field(*GOOD["water"]))
