"""Two results files against each other, guess by guess, as Markdown."""

from __future__ import annotations

from dataclasses import dataclass

from pyscf_mlguess.benchmark.report import Table, escape, interval, markdown_table, number
from pyscf_mlguess.benchmark.sections import level
from pyscf_mlguess.benchmark.summary import Pairs, bootstrap, finite, fock_builds, geometry, time_ratio

_LARGEST_DIFFERENCES = 10


@dataclass(frozen=True)
class Comparison:
    """One guess in both files at one molecule set and protocol.

    variant_a, variant_b: weights and PySCF's version in either file.
    pairs: rows of B, each with A's on the same molecule.
    """

    guess: str
    variant_a: tuple[str, str]
    variant_b: tuple[str, str]
    pairs: Pairs


def compare(rows_a: list[dict], rows_b: list[dict], name_a: str, name_b: str) -> str:
    """Markdown: what B's runs changed against A's, over the molecules, guesses and protocols that both have.

    Other weights and another version of PySCF are compared and said; all else of the protocol must be equal.
    Raises ValueError where the files share no run.
    """
    a, b = _group(rows_a), _group(rows_b)
    shared = {section: comparisons for section in a if section in b
              if (comparisons := _comparisons(a[section], b[section]))}
    if not shared:
        raise ValueError(f"{name_a} and {name_b} have no run in common: no molecule with the same set, geometry, "
                         "protocol and guess; compare files of the same `mlguess bench` command")
    blocks = ["# Initial guesses compared", f"A: {escape(name_a)}  \nB: {escape(name_b)}",
              "Over the molecules that both have. Fock builds as in the report of `mlguess bench`. B/A: ratio of "
              "sums, below 1 where B is better; in brackets the 95 % interval from resampling the molecules."]
    for (molecule_set, protocol), comparisons in shared.items():
        blocks += [f"## {escape(molecule_set)}: {level(dict(protocol))}", _protocol(protocol, comparisons),
                   markdown_table(_table(comparisons))]
        differences = _largest_differences(comparisons)
        if differences:
            blocks += ["### Largest differences in Fock builds", "\n".join(differences)]
    alone = [*_only_in("A", a, b), *_only_in("B", b, a)]
    if alone:
        blocks += ["## In one file only", "\n".join(f"- {escape(line)}" for line in alone)]
    return "\n\n".join(blocks) + "\n"


def _group(rows):
    """{(set, protocol without PySCF's version): {guess: {(weights, version): {molecule: row}}}}."""
    grouped: dict[tuple, dict] = {}
    for row in (row for row in rows if row["converged"] is not None):
        protocol = tuple((name, value) for name, value in sorted(row["protocol"].items()) if name != "pyscf_version")
        variant = row["weights"], row["protocol"]["pyscf_version"]
        guesses = grouped.setdefault((row["set"], protocol), {})
        guesses.setdefault(row["guess"], {}).setdefault(variant, {})[geometry(row)] = row
    return grouped


def _comparisons(a, b):
    found = []
    for guess in (guess for guess in a if guess in b):
        for variant_a, runs_a in a[guess].items():
            for variant_b, runs_b in b[guess].items():
                pairs = [(row, runs_a[molecule]) for molecule, row in runs_b.items() if molecule in runs_a]
                if pairs:
                    found.append(Comparison(guess, variant_a, variant_b, pairs))
    return found


def _protocol(protocol, comparisons):
    text = "Protocol: " + ", ".join(f"{name}={value}" for name, value in protocol)
    a, b = ({getattr(c, variant)[1] for c in comparisons} for variant in ("variant_a", "variant_b"))
    if a == b and len(a) == 1:
        return f"{text}, pyscf_version={a.pop()}."
    return f"{text}. **The versions of PySCF differ**: {', '.join(sorted(a))} in A, {', '.join(sorted(b))} in B."


def _table(comparisons):
    header = ["guess", "A", "B", "molecules", "builds A", "builds B", "B/A", "won / tied / lost", "failures A / B",
              "wall B/A", "energies differ by (Eh)"]
    return Table("", header, [_line(comparison, comparisons) for comparison in comparisons], text_columns=3)


def _line(comparison, comparisons):
    b, a = zip(*((fock_builds(own), fock_builds(base)) for own, base in comparison.pairs), strict=True)
    energies = [abs(own["energy"] - base["energy"]) for own, base in comparison.pairs
                if finite(own["energy"]) and finite(base["energy"])]
    outcomes = [sum(outcome) for outcome in zip(*((y < x, y == x, y > x) for x, y in zip(a, b, strict=True)),
                                                strict=True)]
    failures = [sum(not pair[index]["converged"] for pair in comparison.pairs) for index in (1, 0)]
    versions = len({variant[1] for c in comparisons for variant in (c.variant_a, c.variant_b)}) > 1
    return [comparison.guess, _variant(comparison.variant_a, versions), _variant(comparison.variant_b, versions),
            str(len(b)), str(sum(a)), str(sum(b)), interval(bootstrap(b, a)[0]), " / ".join(map(str, outcomes)),
            " / ".join(map(str, failures)), number(time_ratio(comparison.pairs), ".2f"),
            f"{max(energies):.1e}" if energies else "-"]


def _variant(variant, versions):
    weights, version = variant
    return " ".join(filter(None, (weights, version if versions else ""))) or "-"


def _largest_differences(comparisons):
    differences = [(fock_builds(own) - fock_builds(base), comparison, own, base)
                   for comparison in comparisons for own, base in comparison.pairs]
    differences = sorted((d for d in differences if d[0]), key=lambda d: -abs(d[0]))[:_LARGEST_DIFFERENCES]
    return [f"- {escape(own['molecule'])}, {comparison.guess}: {fock_builds(base)} in A, {fock_builds(own)} in B "
            f"({change:+d})" for change, comparison, own, base in differences]


def _only_in(name, of_file, other):
    for (molecule_set, protocol), guesses in of_file.items():
        counts = {}
        for guess, variants in guesses.items():
            elsewhere = set().union(*other.get((molecule_set, protocol), {}).get(guess, {}).values())
            if alone := set().union(*variants.values()) - elsewhere:
                counts[guess] = len(alone)
        if counts:
            settings = ", ".join(f"{setting}={value}" for setting, value in protocol)
            yield (f"{name}: {molecule_set} ({settings}), molecules per guess: "
                   + ", ".join(f"{count} of {guess}" for guess, count in counts.items()))
