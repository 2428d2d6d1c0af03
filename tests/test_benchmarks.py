"""The benchmarks measure what they say: peers agree with ours, counts are right, the page is that of its data."""

import dataclasses
import json
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the peers are in PyTorch")

import torch

from benchmarks import accuracy, child, floors, memory, page, records, scaling, table, timing
from benchmarks.row import BY_HAND, Row
from benchmarks.rows import ROWS, chosen
from regcore import AR, TAR, Orthogonality

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "performance.md"
HOW = {"setting": "default", "device": "cpu", "plain": False}
EAGER = [row for row in ROWS if row.library != "torch.compile"]  # compiled peers are the eager ones
BY_NAME = {row.name: row for row in ROWS}


@pytest.mark.parametrize("row", EAGER, ids=lambda row: row.name)
def test_a_peer_agrees_with_ours(row):
    pytest.importorskip(row.library, reason=f"{row.library} is not installed")
    steps = row.steps(row.quick, **HOW)
    for variant in ("ours", *([BY_HAND] if row.by_hand else [])):
        found = child.agreed(row, steps, HOW, variant)
        assert found["agrees"], (variant, found)


def test_compiled_rows_have_peers_of_eager_ones():
    eager = {(row.peer, row.spec) for row in EAGER if row.library == "torch"}
    assert {(row.peer, row.spec) for row in ROWS if row.library == "torch.compile"} <= eager


@pytest.mark.parametrize("name", ["ar+tar", "lbe-500x32", "cos2"])
def test_plain_forms_agree_too(name):
    row, how = BY_NAME[name], {**HOW, "plain": True}
    assert child.agreed(row, row.steps(row.quick, **how), how)["agrees"]


def test_without_chunks_the_sample_is_the_whole():
    from benchmarks.torch_peers import chunks, largest

    x = torch.randn(12, 5, dtype=torch.float64)
    assert torch.allclose(chunks(x, k=1), largest(x))
    assert chunks(x, k=3) < largest(x)


def job(row, **changes):
    common = {**HOW, "shape": row.quick, "variants": row.variants, "wall": False, "seconds": 0.0, "small": True}
    return {**common, "row": row.name, "task": "timed", **changes}


def test_a_row_is_timed_only_if_it_agrees():
    row = BY_NAME["tar"]
    found = child.timed(row, job(row))
    assert found["agreement"]["agrees"]
    assert found["rounds"] >= timing.LEAST
    low, middle, high = found["ratios"]["faster"]
    assert 0 < low <= middle <= high
    wrong = child.timed(dataclasses.replace(row, peer="written"), job(row))
    assert "do not agree" in wrong["error"]
    assert "seconds_each" not in wrong


def test_what_is_written_by_hand_is_timed_only_if_it_agrees():
    row = BY_NAME["tar"]
    assert row.timed("cpu") == (*row.variants, BY_HAND)
    assert row.timed("cuda") == row.variants
    found = child.timed(row, {**job(row), "variants": row.timed("cpu")})
    assert set(found["ratios"]) == {"faster", "by_hand"}
    wrong = child.timed(dataclasses.replace(row, by_hand="ar"), {**job(row), "variants": row.timed("cpu")})
    assert "by hand" in wrong["error"]
    deep = BY_NAME["lbe-500x32"]
    found = child.timed(deep, {**job(deep), "variants": deep.timed("cpu")})
    assert set(found["ratios"]) == {"faster", "step", "peer_step", "by_hand"}


def test_a_training_step_is_compared_with_the_step_without():
    row = BY_NAME["lbe-500x32"]
    found = child.timed(row, job(row))
    assert set(found["ratios"]) == {"faster", "step", "peer_step"}
    assert set(found["seconds_each"]) == {"none", "peer", "ours"}


def test_nan_never_agrees():
    one, nan = torch.tensor(1.0), torch.tensor(float("nan"))
    for value, gradient in ((nan, one), (one, nan)):
        steps = {"ours": lambda value=value, gradient=gradient: (value, [gradient]), "peer": lambda: (one, [one])}
        assert not child.agreed(BY_NAME["ar"], steps, HOW)["agrees"]


def test_rounds_interleave_the_variants():
    now, called = [0.0], []

    def step(name, seconds):
        called.append(name)
        now[0] += seconds

    steps = {"peer": lambda: step("peer", 3.0), "ours": lambda: step("ours", 1.0)}
    times = timing.rounds(steps, lambda: now[0], 40.0)
    assert times == {"peer": [3.0] * 10, "ours": [1.0] * 10}
    assert timing.ratios(times, "peer", "ours") == [3.0, 3.0, 3.0]
    pairs = [tuple(called[i : i + 2]) for i in range(2, len(called), 2)]
    assert set(pairs) == {("peer", "ours"), ("ours", "peer")}


def test_counts_of_known_steps():
    steps = Row(name="", peer="tar", spec=TAR, shape=(2, 3, 4), quick=(2, 3, 4)).steps((2, 3, 4), **HOW)
    assert memory.counts(steps["peer"])["saved"] == 2 * 2 * 4 * 4  # the differences
    assert memory.counts(steps["ours"])["saved"] == 0  # but x
    steps = Row(name="", peer="mean_square", spec=Orthogonality, shape=(7, 5), quick=(7, 5)).steps((7, 5), **HOW)
    assert memory.counts(steps["peer"])["flops"] == 3 * 2 * 7 * 7 * 5
    steps = Row(name="", peer="written", spec=AR, shape=(3,), quick=(3,)).steps((3,), **HOW)
    assert memory.counts(steps["peer"])["kernels"] > 2


def test_counts_of_layers_are_those_of_what_is_timed():
    """Nothing that counts may keep sites from being evaluated together."""
    shape = (120, 16, 8)
    counts = {name: memory.counts(step) for name, step in BY_NAME["lbe-500x32"].steps(shape, **HOW).items()}
    assert counts["ours"]["kernels"] - counts["none"]["kernels"] <= 3 * 120
    assert counts["peer"]["kernels"] - counts["none"]["kernels"] > 30 * 120
    units = 2 * 120 * 8 * 4  # a mean and a slope
    assert counts["ours"]["saved"] - counts["none"]["saved"] <= units + 120 * 3 * 4 + 1024


@pytest.mark.skipif(not memory.CLEAR.exists(), reason="only Linux tells the peak of memory")
def test_extra_memory_is_the_peak_without_the_gradient():
    count = 1 << 24  # 64 MB, which the allocator hands back

    def step():
        one, other = np.ones(count, dtype=np.float32), np.ones(count, dtype=np.float32)
        return 0.0, [one + other]

    row = BY_NAME["numpy-tar"]
    got = memory.extra(row, step, lambda: None, "cpu")
    assert 2 * 4 * count * 0.9 < got < 2 * 4 * count * 1.1


def test_exponents_of_known_curves():
    sizes = [10, 20, 40, 80]
    assert scaling.exponent(sizes, [3.0 * size**2 for size in sizes]) == pytest.approx(2.0)
    assert scaling.exponent(sizes, [5.0 * size for size in sizes]) == pytest.approx(1.0)
    assert scaling.exponent(sizes, [1.0, None, 3.0, 4.0]) is None
    assert scaling.exponent(sizes, [0, 1, 2, 3]) is None


def test_every_curve_is_of_a_row_and_differs_along_its_axis():
    for curve in scaling.CURVES:
        assert curve.row in BY_NAME
        for shapes in (curve.shapes, curve.quick):
            assert len({shape[curve.axis] for shape in shapes}) == len(shapes) >= 3
            assert len({shape[: curve.axis] + shape[curve.axis + 1 :] for shape in shapes}) == 1


def test_what_is_expected_of_sums():
    x = np.random.default_rng(0).standard_normal(accuracy.QUICK).astype(np.float32)
    for name, penalty in accuracy.PENALTIES.items():
        assert accuracy._expected(name, x) == pytest.approx(float(penalty()(x.astype(np.float64))), rel=1e-12)


def run(*arguments):
    command = [sys.executable, "-m", "benchmarks", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_the_command_measures_a_row_and_writes_what_it_is_asked_to(tmp_path):
    ran = run("--quick", "--rows", "numpy-*", "--json", tmp_path / "found.json")
    assert ran.returncode == 0, ran.stderr
    text = (tmp_path / "found.json").read_text()
    results = json.loads(text)
    assert platform.node() not in text
    assert str(ROOT) not in text
    assert [row["name"] for row in results["rows"]] == ["numpy-tar", "numpy-cos2"]
    assert all(set(row["memory"]) == {"peer", "ours"} for row in results["rows"])
    assert table.tables(results) in ran.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["found.json"]
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from benchmarks.picture import draw

    draw(results, tmp_path / "found.png")
    assert (tmp_path / "found.png").read_bytes().startswith(b"\x89PNG")


def test_a_row_that_does_not_exist_is_an_error():
    with pytest.raises(ValueError, match=r"no row is named \['nothing'\]; there are \['ar', "):
        chosen(["nothing"], full=False)
    assert not any(row.full for row in chosen(["*"], full=False))
    assert any(row.full for row in chosen(["cos2-65536"], full=False))


def test_verdicts():
    row = BY_NAME["cos2"]
    times = {"ratios": {"faster": [40.0, 50.0, 60.0]}, "seconds_each": {"ours": [1.0] * 3}}
    done = [
        {**job(row), **times, "setting": "pooled", "agreement": {}, "rounds": 5, "rates": {}, "floor": None},
        {**job(row), "task": "measured", "variant": "ours", "extra": 10},
        {**job(row), "task": "measured", "variant": "peer", "extra": 100},
        {**job(row), "setting": "default", "error": "planted"},
    ]
    record = records.record(row, done, "cpu")
    (verdict,) = records.of_times(record, "pooled")
    assert (verdict.got, verdict.target, verdict.reached) == (50.0, 45, True)
    (verdict,) = records.of_counts(record)
    assert (verdict.got, verdict.reached) == (0.1, False)
    assert record["errors"] == ["timed default: planted"]
    assert records.Verdict("of something", None, 1.0).reached is None


def test_a_floor_reads_what_is_there_and_writes_what_is_new():
    rates = {"bytes": 4.0, "fresh": 2.0, "flops": 8.0}
    row = dataclasses.replace(BY_NAME["ar"], passes=3)
    assert floors.floor(row, (2, 3), 4, rates) == 24 / 4 + 48 / 2
    assert floors.floor(dataclasses.replace(row, passes=0), (2, 3), 4, rates) is None
    assert floors.floor(dataclasses.replace(row, passes=0, flops=lambda n, d: n * d), (2, 3), 4, rates) == 6 / 8


def test_the_page_shows_its_data():
    """`python -m benchmarks page` makes it."""
    text = PAGE.read_text(encoding="utf-8")
    assert page.filled(text, PAGE.parent) == text
    assert "<!-- from performance/table.json -->" in text
