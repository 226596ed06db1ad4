"""The two-level SCF: after every real Fock matrix the cheap problem, corrected by it, is solved for the next one."""

from __future__ import annotations

from contextlib import contextmanager

from pyscf import lib
from pyscf.lib import logger
from pyscf.scf import hf
from pyscf.soscf.newton_ah import _CIAH_SOSCF

from pyscf_mlguess import hook
from pyscf_mlguess.cheap import one_build
from pyscf_mlguess.cheap.anderson import Anderson
from pyscf_mlguess.cheap.cost import costs
from pyscf_mlguess.cheap.refinement import refined, unsolved
from pyscf_mlguess.convergence import canonicalize, energy_error, energy_error_of_potential, energy_error_of_rotations
from pyscf_mlguess.keys import GuessKey
from pyscf_mlguess.memory import give_back, integrals_stay
from pyscf_mlguess.parallel import single_blas
from pyscf_mlguess.refusal import Attempts, Refusal, SaddlePoint, check_molecule, check_scf_class, tell
from pyscf_mlguess.scf_copy import gradient_threshold
from pyscf_mlguess.two_level_descent import Descent
from pyscf_mlguess.two_level_diis import TwoLevelDIIS

# The estimated time, as a share of plain PySCF's, from which on the scheme stays out.
_MOST_TIME = 0.9
# The tolerances (Eh), PySCF's own and looser ones, that a cheap problem serves whose changes alone are right.
_CONV_TOL, _CONV_TOL_GRAD = 1e-9, 3e-5
_SADDLE = ("the SCF has ended at a saddle point, from which its energy falls when orbitals are turned: look at "
           "mf.stability(), or start from another guess")


def two_level(mf: hf.SCF, verify: bool = True) -> hf.SCF:
    """``mf`` as a two-level SCF, mostly done in two Fock builds; ``undo_two_level()`` is the way back.

    Its solution is one of ``mf``'s own equations.  Where these have several, it is a minimum and not a saddle point:
    where gaps are small enough to raise a doubt, the stability is looked at and the energy followed down, within the
    class of orbitals (a restricted object stays restricted) and with ``init_guess_breaksym = 0`` with alpha and beta
    alike.  What the user hands over (``dm0``, a chkfile, a scanner's step) keeps its state; a ``SaddlePoint`` warning
    says where that is a saddle point.  Where mixing Fock matrices fails, energies lead.

    mf: RHF, RKS, UHF, UKS, ROHF or ROKS object of PySCF, also with density fitting, symmetry, smearing, X2C,
        solvent or QM/MM.
    Returns a new object of a derived class, like PySCF's ``density_fit()``; applied again it changes nothing.
    Its kernel refines what it starts from, the guess of any key or a density matrix (``dm0``, a scanner's last step).
    It stops when the orbital gradient is below ``conv_tol_grad`` and an estimate of the energy still to be gained
    (then in ``energy_error``, Eh) below ``conv_tol``, mostly after two Fock builds; the orbitals become canonical by a
    diagonalisation of the last Fock matrix instead of PySCF's extra build.  ``check_convergence`` and ``conv_check``
    that the user sets are respected.
    verify: without, ``kernel`` builds one Fock matrix and leaves it at the energy and orbitals that this one predicts
        (``pyscf_mlguess.cheap.one_build``): for screening.  ``energy_error`` estimates what is wrong with the energy.
    Raises TypeError for other SCF classes and for second-order (newton) objects, which do not use DIIS.
    """
    if isinstance(mf, TwoLevelSCF):
        return mf if mf.verify == verify else two_level(mf.undo_two_level(), verify)
    if isinstance(mf, _CIAH_SOSCF):
        raise TypeError(f"two_level({type(mf).__name__}): a second-order SCF does not use DIIS; "
                        "use one of the two")
    try:
        check_scf_class(mf)
    except Refusal as refusal:
        raise TypeError(f"two_level: {refusal}") from None
    return lib.set_class(TwoLevelSCF(mf, verify), (TwoLevelSCF, mf.__class__))


class TwoLevelSCF:
    """Mixin of ``two_level``: the refined guess and ``TwoLevelDIIS`` in place of the class's own DIIS."""

    __name_mixin__ = "TwoLevel"
    # PySCF tells users on stderr of attributes that are not among these; check_convergence is set for the run.
    _keys = {"check_convergence", "diis_start_cycle", "DIIS", "energy_error", "last_dm", "last_vhf", "verify"}

    # Set to another class, before or after, that one is used and the two-level scheme is not.
    DIIS = TwoLevelDIIS
    # The first step, too, is the two-level scheme's.
    diis_start_cycle = 0
    # Estimate (Eh) of what the energy of the last run may lack; None where no estimate was made.
    energy_error = None
    # The cheap problem and what it has learned, while the SCF runs; the last real Fock matrix when it is done.
    _anderson = None
    # What leads it down where mixing fails.
    _descent = None
    _handed_over = False
    # Whether the run is to be verified by a second Fock build.
    verify = True
    # The density matrix of the last ``get_fock``, tagged with its orbitals, and its potential, tagged with energies.
    last_dm = last_vhf = None
    # Both of the Fock matrix before.
    _before = None
    _fock = None
    _hcore = None
    _running = False
    # Whether it is known that there is no cheap problem for this molecule.
    _unserved = False

    def __init__(self, mf, verify):
        self.__dict__.update(mf.__dict__)
        self.verify = verify

    def undo_two_level(self) -> hf.SCF:
        """The same object without the two-level scheme."""
        plain = lib.view(self, lib.drop_class(self.__class__, TwoLevelSCF))
        forget(plain)
        return plain

    def __reduce__(self):
        # The class is made at run time and has no name to be found by.
        return _restored, (self.undo_two_level(), self.verify)

    def to_gpu(self, *args, **kwargs):
        """The object of gpu4pyscf without the two-level scheme, which works on the CPU."""
        logger.warn(self, "two-level SCF: left behind by to_gpu(), the scheme works with PySCF's objects alone")
        return self.undo_two_level().to_gpu(*args, **kwargs)

    def scf(self, dm0=None, **kwargs):
        self.energy_error = self._fock = None
        if reason := self._replaced():
            logger.warn(self, "two-level SCF: not in use, %s", reason)
            return self._plain_scf(dm0, DIIS=self.DIIS, **kwargs)
        if reason := stays_out(self):
            logger.note(self, "two-level SCF stays out of the way: %s", reason)
            energy = self._plain_scf(dm0, DIIS=super().DIIS, **kwargs)
            if self.converged or self.max_cycle <= 0:
                return energy
            logger.note(self, "two-level SCF: that did not converge, takes part after all")
            self.mo_coeff = self.mo_occ = None
        own = vars(self)
        judged = {"conv_check": own.get("conv_check", "post_kernel" in own),
                  "check_convergence": self.check_convergence or self._is_converged}
        self._running, self._unserved = True, False
        self._handed_over = dm0 is not None or not isinstance(self.init_guess, str) or self.init_guess == "chkfile"
        try:
            if self.max_cycle > 0:
                dm0 = self._refined_start(dm0)
                if not self.verify:
                    self.build(self.mol)
                    dm0 = self.get_init_guess(self.mol, self.init_guess) if dm0 is None else dm0
                    if self._predicts(dm0):
                        return self.e_tot
            with _attributes(self, judged):
                energy = super().scf(dm0, **kwargs)
            if self._descent and self._descent.at_saddle:
                tell(self, _SADDLE, SaddlePoint)
            return energy
        finally:
            self._running, self._anderson, self._descent = False, None, None
            self.last_dm = self.last_vhf = self._before = self._fock = self._hcore = None
            give_back()

    kernel = lib.alias(scf, alias_name="kernel")

    def _predicts(self, dm):
        """Whether one Fock matrix was enough; not without a cheap problem, nor where smearing's entropy counts.

        Nor with a solvent or Hubbard's U, of which the cheap problem does not know how they answer.
        """
        if self._anderson is None or self._smeared or hasattr(self, "with_solvent") or hasattr(self, "U_val"):
            return False
        with Attempts(self, "two-level SCF") as attempt:
            attempt("the verified one", lambda: one_build.run(self, self._anderson, dm))
        if self.energy_error is not None:
            self._finalize()
        return self.energy_error is not None

    def _plain_scf(self, dm0, DIIS, **kwargs):
        start = vars(self).get("diis_start_cycle", super().diis_start_cycle)
        with _attributes(self, {"DIIS": DIIS, "diis_start_cycle": start}):
            return super().scf(dm0, **kwargs)

    def _refined_start(self, dm0):
        """What was handed over, or what the last run left (a scanner's step), refined where that pays; or None."""
        if dm0 is None and self.mo_coeff is not None and self.mo_occ is not None:
            dm0 = self.make_rdm1()
        if dm0 is None:
            return None
        self.build(self.mol)
        with integrals_stay(self):
            self._anderson = cheap_scf(self)
            return dm0 if self._anderson is None else self._refined(dm0)

    def _refined(self, dm):
        with Attempts(self, "two-level SCF") as attempt:
            better = attempt("the unrefined density matrix and plain DIIS", lambda: refined(self._anderson, dm))
        if better is None:
            self.give_up()
        return dm if better is None else better

    def plain_diis(self) -> tuple[type, int]:
        """The DIIS of the class below, which can take over, and the cycle in which it starts."""
        plain = super()
        return plain.DIIS, plain.diis_start_cycle

    def cheap_problem(self) -> Anderson | None:
        """That of the run, with what it has learned; None where plain DIIS has the rest of the run."""
        self._anderson = self._anderson or cheap_scf(self)
        return self._anderson

    @property
    def descent(self) -> Descent:
        """That of the run; from a density matrix that was handed over, saddle points are not left."""
        if self._descent is None:
            self._descent = Descent(self, self._anderson, follows=not self._handed_over)
        return self._descent

    def give_up(self) -> None:
        """Plain DIIS for the rest of the run, judged as PySCF does."""
        self._anderson, self._unserved, self.energy_error = None, True, None

    def _is_converged(self, envs):
        """PySCF's ``check_convergence`` of one run.

        The gradient as PySCF has it; the energy by what is left to be gained instead of what the last step has gained.
        With ``conv_check`` PySCF asks again after its extra build, and is content with one of the two, ten and three
        times as large.
        """
        if envs["scf_conv"]:
            gained = abs(envs["e_tot"] - envs["last_hf_e"])
            return gained < envs["conv_tol"] or envs["norm_gorb"] < envs["conv_tol_grad"]
        if envs["norm_gorb"] >= envs["conv_tol_grad"]:
            return False
        if self._anderson is not None:
            with Attempts(self, "two-level SCF") as attempt:
                self.energy_error = attempt("the change of the energy", lambda: self._energy_error(envs))
            if self.energy_error is not None:
                logger.info(self, "two-level SCF: the energy is right to %.1e Eh", self.energy_error)
                if self.energy_error < envs["conv_tol"]:
                    return not self._leaves_saddle(envs)
        if abs(envs["e_tot"] - envs["last_hf_e"]) >= envs["conv_tol"]:
            return False
        if self._smeared and self._anderson is not None and self.descent.active:
            logger.note(self, "two-level SCF: smearing occupies otherwise than the descent, plain DIIS from here")
            self.give_up()
            envs["mf_diis"].restart_plain()
            return False
        return not self._leaves_saddle(envs)

    def _energy_error(self, envs):
        # The levels that the descent hands over are far apart: smearing may leave occupations whole that are not.
        if self.descent.active and not self._smeared and (determinant := self.descent.determinant(envs)):
            return energy_error_of_rotations(determinant, self.descent.spins(envs))
        error = energy_error(self._anderson.problem, envs["dm"], envs["fock"])
        left = envs["mf_diis"].share_left(envs["norm_gorb"])
        if self._before is None or left is None or self._smeared:  # the entropy is not in the energy that is known here
            return error
        change = envs["e_tot"] - envs["last_hf_e"]
        after = envs["dm"], envs["vhf"]
        return error + energy_error_of_potential(envs["h1e"], self._before, after, change, left)

    @property
    def _smeared(self):
        return bool(getattr(self, "sigma", None))

    def _leaves_saddle(self, envs):
        if self._anderson is None:
            return False
        with Attempts(self, "two-level SCF") as attempt, single_blas():
            return bool(attempt("no look at the stability", lambda: self.descent.leaves(envs)))

    def post_kernel(self, envs):
        if self._running and envs["scf_conv"] and not envs["conv_check"]:
            # The orbitals so far are those of the matrix that was diagonalised, not of the last real one.
            self._fock = envs["fock"]
        return super().post_kernel(envs)

    def _finalize(self):
        if self._fock is not None:
            canonicalize(self, self._fock)
        return super()._finalize()

    def _replaced(self) -> str | None:
        """What the user has put in the scheme's place; None where it is in use."""
        if self.diis is not True:
            return f"diis = {self.diis!r} takes its place; set mf.diis = True"
        if self.DIIS is not TwoLevelDIIS:
            return f"DIIS = {self.DIIS.__name__} takes its place; del mf.DIIS brings it back"
        return None

    def get_hcore(self, mol=None):
        """As the class below has it; while ``kernel`` runs, made once for the SCF and the cheap problem."""
        if not self._running or (mol is not None and mol is not self.mol):
            return super().get_hcore(mol)
        if self._hcore is None:
            self._hcore = super().get_hcore(mol)
        return self._hcore

    def get_fock(self, h1e=None, s1e=None, vhf=None, dm=None, *args, **kwargs):
        """As the class below has it; DIIS is handed the density matrix of ROHF without its orbitals."""
        if dm is not self.last_dm:
            self._before = None if self.last_dm is None else (self.last_dm, self.last_vhf)
        self.last_dm, self.last_vhf = (dm, vhf) if self._running else (None, None)
        return super().get_fock(h1e, s1e, vhf, dm, *args, **kwargs)

    def get_init_guess(self, mol=None, key="minao", **kwargs):
        """As the class below has it; while ``kernel`` runs, refined."""
        def pyscf_guess(key):
            return super(TwoLevelSCF, self).get_init_guess(mol, key, **kwargs)

        if not self._running:
            return pyscf_guess(key)
        with integrals_stay(self):
            anderson = self._anderson = cheap_scf(self)
            ours = GuessKey.parse(key)
            if anderson is None and ours is None:
                return pyscf_guess(key)
            if not isinstance(key, str):
                return self._refined(key)
            # Where there is no cheap problem, that has been told.
            dm = hook.our_guess(self, mol, key, ours or GuessKey(plain=key), pyscf_guess, lambda _: anderson)
        if anderson is not None and not anderson.points:
            self.give_up()
        return dm


def forget(mf: hf.SCF) -> None:
    """Take what TwoLevelSCF keeps in it out of an object that no longer is one."""
    for name in ("_anderson", "_descent", "_handed_over", "last_dm", "last_vhf", "_before", "_fock", "_hcore",
                 "_running", "_unserved", "energy_error", "verify"):
        vars(mf).pop(name, None)


@contextmanager
def _attributes(mf, attributes):
    """``attributes`` of ``mf`` for one run.

    Those that were the class's before are the class's again afterwards, not ``mf``'s own as after
    ``lib.temporary_env``.
    """
    own = {name: vars(mf)[name] for name in attributes if name in vars(mf)}
    vars(mf).update(attributes)
    try:
        yield
    finally:
        for name in attributes:
            vars(mf).pop(name, None)
        vars(mf).update(own)


def _restored(plain, verify):
    try:
        return two_level(plain, verify)
    except TypeError:  # what newton(), to_gks() and the like had made of it does not use the scheme
        return plain


def stays_out(mf: hf.SCF) -> str | None:
    """Why the two-level scheme would not pay for ``mf``; None where it does."""
    try:
        check_scf_class(mf)
        check_molecule(mf.mol)
    except Refusal:  # said when the cheap problem is asked for
        return None
    with Attempts(mf, "two-level SCF") as attempt:
        ratio = attempt("taking part without an estimate of its time", lambda: costs(mf).ratio)
    if ratio is None or ratio <= _MOST_TIME:
        return None
    return f"it would take some {ratio:.1f} of the time of plain PySCF, whose own cycles are cheap here"


def cheap_scf(mf: hf.SCF) -> Anderson | None:
    """The cheap problem of ``mf`` with an empty history; None, with one warning, where there is none."""
    if mf._unserved:
        return None
    with Attempts(mf, "two-level SCF") as attempt:
        anderson = attempt("plain DIIS", lambda: _cheap_scf(mf))
    mf._unserved = anderson is None
    return anderson


def _cheap_scf(mf):
    # Conversions such as to_gks() keep the mixin.
    check_scf_class(mf)
    check_molecule(mf.mol)
    # The prediction from one build takes the cheap problem's answer for its last step, too.
    tight = mf.conv_tol < _CONV_TOL or gradient_threshold(mf) < _CONV_TOL_GRAD
    return unsolved(mf, corrected=mf.verify and not tight)
