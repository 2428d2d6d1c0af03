"""A run can be watched: workers hand over blocks, a crash keeps them, and the matrix fits the terminal."""

import io
import pickle
import re

import numpy as np
import pytest

pytest.importorskip("gmpy2", reason="gmpy2 is not installed (the extra `conformance`)")

from regcore_conformance import live, oracle, processes, streaming, suite
from regcore_conformance.collecting import Collected
from regcore_conformance.evaluating import Cell, cells, cells_of
from regcore_conformance.picture import picture
from regcore_conformance.progress import Progress
from regcore_conformance.runners import array_api
from regcore_conformance.selection import Selection
from regcore_conformance.verdicts import Verdict
from regcore_conformance.worker import Outcome

(CASE,) = Selection(("L2",), ("L2/0/dense",)).cases()
RIGHT = array_api.evaluators(np)["eager"](CASE.spec, CASE.x, CASE.params, CASE.mask)
RAN = Cell("eager", "float64", CASE.id, "ran", results=RIGHT)
CRASH = """
import ctypes, os, sys
from regcore_conformance import streaming
from regcore_conformance.evaluating import Cell, cells, cells_of
from regcore_conformance.worker import Outcome
pipe = streaming.own_pipe()
print("a library prints this")
os.write(1, b"and another one this, from C")
os.system("echo and a process of its own that")
streaming.send(streaming.Plan("numpy", "numpy 0", {("eager", "float64"): 1}), pipe)
streaming.send(Outcome("numpy", "numpy 0", (Cell("eager", "float64", "L2/0/dense", "unsupported", "of a test"),)), pipe)
pipe.write(b"half a mess")
pipe.flush()
os._exit(3)
"""


class Terminal(io.StringIO):
    def isatty(self):
        return True


def drawn(lines):
    return ["".join(part.text for part in line).rstrip() for line in lines]


def test_a_worker_that_crashes_keeps_what_it_handed_over_and_what_is_printed_breaks_nothing(monkeypatch):
    monkeypatch.setattr(processes, "START", CRASH)
    seen = []
    done = suite.run(["numpy"], Selection(("L2",), (CASE.id,)), watch=lambda progress, news: seen.append(news))
    assert [(v.case, v.status) for v in done.verdicts] == [(CASE.id, "unsupported"), ("step", "error")]
    assert "the worker ended with 3" in done.verdicts[1].detail
    assert "a library prints this" in done.verdicts[1].detail
    assert done.descriptions == {"numpy": "numpy 0"}
    assert re.fullmatch(r"1/1  numpy  \d+ s", "".join(seen))


def test_blocks_are_of_one_mode_and_grade_and_of_a_second(monkeypatch):
    clock = iter(range(0, 100, 1))
    cells = [RAN, RAN._replace(grade="exact"), RAN._replace(grade="exact"), RAN._replace(mode="jit", grade="exact")]
    assert [len(block) for block in streaming.blocks(cells)] == [1, 2, 1]
    monkeypatch.setattr(streaming.time, "monotonic", lambda: next(clock))
    assert [len(block) for block in streaming.blocks([RAN] * 6)] == [2, 2, 2]
    assert list(streaming.blocks([])) == []


def test_what_is_cut_off_is_left_out():
    message = pickle.dumps(RAN)
    assert [cell.case for cell in streaming.received(io.BytesIO(message + message[:-9]))] == [CASE.id]


def test_what_needs_a_computed_reference_waits_for_it():
    progress = Progress(["numpy"], jobs=1)
    collected = Collected([CASE], [CASE.id], progress)
    collected.take(streaming.Plan("numpy", "numpy 2", {("eager", "float64"): 1}))
    collected.take(Outcome("numpy", "numpy 2", (RAN,)))
    assert collected.verdicts == []
    assert drawn(picture(progress, 0, 80, 24))[2].split() == ["numpy", "ref"]
    collected.take(streaming.References("oracle 0 1", {CASE.id: oracle.truth(CASE)}))
    collected.judge_what_waits()
    assert [v.status for v in collected.verdicts] == ["pass"]
    assert re.fullmatch(r"numpy +0\.\d\d", drawn(picture(progress, 0, 80, 24))[2])


def test_what_has_no_reference_at_the_end_is_an_error_and_not_silence():
    (case,) = Selection(("L2",), (CASE.id,), seed=3).cases()
    collected = Collected([case], [case.id], Progress(["numpy"], jobs=1))
    collected.take(Outcome("numpy", "numpy 2", (RAN,)))
    collected.judge_what_waits()
    assert [v.status for v in collected.verdicts] == ["error"]


def half_way():
    """Of two backends one is done, with a failure, and one is on its way; a third is not here."""
    progress = Progress(["numpy", "jax:cpu", "torch:cuda", "regcore_flax"], jobs=3)
    progress.start(["numpy"])
    progress.plan("numpy", {("eager", "float64"): 4, ("eager", "exact bfloat16"): 4})
    verdict = Verdict("numpy", "eager", "float64", CASE.id, "pass", "", 0.3071)
    for ratio in (0.3071, 0.02, 0.1, 0.0):
        progress.add(verdict._replace(ratio=ratio))
        progress.add(verdict._replace(grade="exact bfloat16", status="fail" if ratio else "pass"))
    progress.end("numpy")
    progress.start(["jax:cpu", "torch:cuda"])
    progress.plan("jax:cpu", {("eager", "float64"): 4, ("jit", "float64"): 4})
    for _ in range(4):
        progress.add(verdict._replace(backend="jax:cpu", mode="jit", status="not run", ratio=None))
    progress.add(verdict._replace(backend="jax:cpu"))
    progress.add(Verdict("torch:cuda", "", "", "", "not run", "torch finds no CUDA device"))
    return progress


def test_the_matrix_says_how_far_each_is():
    lines = drawn(picture(half_way(), 63, 120, 40))
    assert lines[0].split() == ["eager", "jit"]
    assert lines[1].split() == ["f64", "=bf16", "f64"]
    assert lines[2].split() == ["numpy", "0.31", "FAIL"]
    assert lines[3].split() == ["jax:cpu", "25%", "-"]
    assert lines[4] == "torch:cuda    not run: torch finds no CUDA device"
    assert lines[5] == "regcore_flax"
    assert lines[-1] == "1:03   13 of 16+ cells   0 of 3 processes   3 FAILED"


@pytest.mark.parametrize("width", [20, 30, 40, 60, 80, 200])
@pytest.mark.parametrize("height", [2, 12, 40])
def test_no_picture_is_larger_than_the_terminal(width, height):
    lines = picture(half_way(), 63, width, height)
    assert len(lines) < height
    assert all(len(line) < width for line in drawn(lines))


def test_a_narrow_terminal_has_fewer_columns():
    lines = drawn(picture(half_way(), 63, 34, 40))
    assert lines[0].split() == ["f64", "=bf16"]
    assert [line.split()[:2] for line in lines[1:3]] == [["numpy", "eager"], ["jax:cpu", "eager"]]


def test_each_mode_is_measured_by_the_cells_that_it_has():
    cases = Selection(("TAR",)).cases()  # additive, so that there is nothing to share between replicas
    ways = cells_of(["eager", "shards", "second"], cases)
    assert {grade for mode, grade in ways if mode == "second"} == {"float64"}
    assert ways["eager", "float64"] == ways["eager", "exact"] > ways["second", "float64"] > 0
    assert not any(mode == "shards" for mode, _ in ways)
    for mode in ("eager", "second"):
        planned = ways[mode, "float64"]
        evaluator = array_api.evaluators(np)["eager"]
        assert planned == sum(c.grade == "float64" for c in cells("acme", {mode: evaluator}, cases, "quick"))


def test_a_mode_is_done_when_all_of_its_cells_are_there_or_the_backend_ends():
    progress = Progress(["numpy"], jobs=1)
    progress.plan("numpy", {("eager", "float64"): 10, ("shards", "float64"): 1})
    verdict = Verdict("numpy", "eager", "float64", CASE.id, "pass", "", 0.25)
    progress.add(verdict)
    progress.add(verdict._replace(mode="shards"))
    assert drawn(picture(progress, 0, 80, 24))[2].split() == ["numpy", "10%", "0.25"]
    progress.end("numpy")
    assert drawn(picture(progress, 0, 80, 24))[2].split() == ["numpy", "0.25", "0.25"]
    assert "2 of 2 cells" in drawn(picture(progress, 0, 80, 24))[-1]


def test_a_terminal_is_redrawn_in_place(monkeypatch):
    monkeypatch.setattr(live, "OFTEN", 0.0)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("LINES", "40")
    stream = Terminal()
    watch = live.watcher(stream)
    watch(half_way(), "")
    first = stream.getvalue()
    watch(half_way(), "3/10 numpy 4 s")
    second = stream.getvalue()[len(first) :]
    assert "\x1b[1;37;41mFAIL\x1b[0m" in first
    assert second.startswith(f"\x1b[{first.count(chr(10))}F")
    assert "3/10" not in second


def test_a_file_gets_a_line_for_each_process():
    stream = io.StringIO()
    watch = live.watcher(stream)
    for news in ("", "3/10 numpy 4 s", ""):
        watch(half_way(), news)
    assert stream.getvalue() == "3/10 numpy 4 s\n"
