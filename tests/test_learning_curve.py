"""Learning curves come from the cards of the models that results name."""

import json
import shutil

import pytest
from benchmark_rows import row

from pyscf_mlguess.benchmark.learning_curve import draw_curve, markdown, points_of
from pyscf_mlguess.models import CHECKPOINTS

CYCLES = {"first": {"ml": (9, 19), "ml-density": (10, 20)}, "second": {"ml": (6, 15), "ml-density": (9, 18)}}


@pytest.fixture
def models(tmp_path):
    """Two models that differ in what their cards say."""
    paths = {}
    for name, molecules, loss in (("second", 400, 0.01), ("first", 200, 0.03)):
        paths[name] = tmp_path / f"{name}.safetensors"
        for suffix in (".safetensors", ".json"):
            shutil.copy(CHECKPOINTS / ("linear-ace-3" + suffix), paths[name].with_suffix(suffix))
        card = json.loads(paths[name].with_suffix(".json").read_text())
        card["training"] = {"size": "full", "molecules": molecules, "weights": 12345,
                            "validation_loss": {"base": loss},
                            "responses": {"losses": {"density": loss, "step 1": loss / 10}}}
        paths[name].with_suffix(".json").write_text(json.dumps(card))
    return paths


@pytest.fixture
def points(models):
    rows = [row("a", "minao", 10), row("b", "minao", 20), row("a", "ml", 3), row("b", "ml", 3)]
    rows += [row(molecule, f"{guess}:{path}", cycles, weights=name[:4]) for name, path in models.items()
             for guess, both in CYCLES[name].items() for molecule, cycles in zip("ab", both)]
    return points_of(rows)


def test_points_are_sorted_and_hold_what_cards_and_rows_say(points):
    assert [(p.molecules, p.loss, p.corrected_loss, p.runs) for p in points] == [
        (200, 0.03, 0.003, 2), (400, 0.01, 0.001, 2)]
    assert points[0].ratios["ml"].value == pytest.approx(32 / 34)
    assert points[1].ratios["ml-density"].value == pytest.approx(31 / 34)


def test_table_and_figure_show_every_point(points):
    table, figure = markdown(points), draw_curve(points)
    assert "| full | 12345 | 400 | 0.0100 | 0.0010 | 0.74" in table and "0.94" in table
    assert figure.startswith("<?xml") and "training molecules" in figure and "12,345 weights" in figure


def test_results_without_such_models_are_a_clear_error(models):
    with pytest.raises(ValueError, match="ml:<path>"):
        points_of([row("a", "minao", 10), row("a", "ml", 8)])
    card = models["first"].with_suffix(".json")
    card.write_text(card.read_text().replace('"size"', '"length"'))
    with pytest.raises(ValueError, match="first.safetensors does not tell its size"):
        points_of([row("a", "minao", 10), row("a", f"ml:{models['first']}", 8, weights="x")])


def test_models_without_a_correction_have_none(models):
    for path in models.values():
        card = json.loads(path.with_suffix(".json").read_text())
        del card["training"]["responses"]
        path.with_suffix(".json").write_text(json.dumps(card))
    points = points_of([row("a", "minao", 10)] + [row("a", f"ml:{path}", 8, weights=n) for n, path in models.items()])
    assert [point.corrected_loss for point in points] == [None, None]
    assert "| 0.0100 | - | 0.83" in markdown(points)
    assert "after its correction" not in draw_curve(points)


def test_networks_have_a_line_of_their_own(tmp_path):
    pytest.importorskip("e3nn")
    paths = [tmp_path / f"{name}.safetensors" for name in ("exchange-1", "exchange-2")]
    for path in paths:
        for suffix in (".safetensors", ".json"):
            shutil.copy(CHECKPOINTS / (path.stem + suffix), path.with_suffix(suffix))
    points = points_of([row("a", "minao", 10)] + [row("a", f"ml:{path}", 8, weights=path.stem) for path in paths])
    assert [point.size for point in points] == ["medium", "network full"]
    assert "network full, 417,367 weights" in draw_curve(points)


def test_targets_are_not_mixed(models):
    card = models["first"].with_suffix(".json")
    card.write_text(card.read_text().replace('"target": "', '"target": "other '))
    rows = [row("a", "minao", 10)] + [row("a", f"ml:{path}", 8, weights=n) for n, path in models.items()]
    with pytest.raises(ValueError, match="no losses to compare"):
        points_of(rows)
