"""Schedules: exact at their ends, the same in every library and when traced, JSON; and the driver that resumes."""

import json
import math

import numpy as np
import pytest

from regcore import AR, L2, TAR
from regcore.coefficients import Schedules
from regcore.schedules import KINDS, Constant, Cosine, Cyclic, Linear, Step, from_config, to_config

EXAMPLES = [
    Constant(value=0.3),
    Linear(start=0.1, stop=0.7, steps=10),
    Linear(start=2.0, stop=-0.3, steps=7, delay=3),
    Cosine(start=1.0, stop=0.1, steps=9, delay=2),
    Step(values=(1.0, 0.1, 0.01), milestones=(3, 8)),
    Step(values=(0.5,), milestones=()),
    Cyclic(low=0.1, high=0.9, period=6),
    Cyclic(low=1.0, high=0.0, period=5, shape="cosine"),
]
STEPS = range(16)


def plain(schedule, step):
    """The formulas of the docstrings, with `math` alone."""
    match schedule:
        case Constant(value=value):
            return value
        case Step(values=values, milestones=milestones):
            return values[sum(step >= milestone for milestone in milestones)]
        case Cyclic(low=low, high=high, period=period, shape=shape):
            t = step % period / period
            rise = 1 - abs(1 - 2 * t) if shape == "triangular" else math.sin(math.pi * (1 - abs(1 - 2 * t)) / 2) ** 2
            return low + (high - low) * rise
    way = min(max((step - schedule.delay) / schedule.steps, 0), 1)
    part = way if isinstance(schedule, Linear) else math.sin(math.pi * way / 2) ** 2
    return schedule.start + (schedule.stop - schedule.start) * part


@pytest.mark.parametrize("schedule", EXAMPLES, ids=repr)
def test_an_int_gives_the_float_of_the_formula(schedule):
    for step in STEPS:
        assert type(schedule(step)) is float
        assert schedule(step) == pytest.approx(plain(schedule, step), rel=1e-14, abs=1e-15)


@pytest.mark.parametrize("kind", [Linear, Cosine])
@pytest.mark.parametrize("steps", [1, 3, 7, 10, 49, 1000])
def test_ramps_are_exact_at_both_ends_and_beyond(kind, steps):
    ramp = kind(start=0.1, stop=0.7, steps=steps, delay=4)
    assert [ramp(step) for step in (0, 4, 4 + steps, 10**9)] == [0.1, 0.1, 0.7, 0.7]


def test_every_kind_has_an_example():
    assert {type(schedule) for schedule in EXAMPLES} == set(KINDS)


@pytest.mark.parametrize("schedule", EXAMPLES, ids=repr)
def test_an_array_gives_a_float32_array_of_its_library(schedule, library):
    for step in STEPS:
        array = library.asarray(np.asarray(step, dtype=np.int32))
        result = library.asnumpy(schedule(array))
        assert result.shape == ()
        assert result.dtype == np.float32
        assert result == pytest.approx(schedule(step), abs=1e-6)


@pytest.mark.parametrize("schedule", EXAMPLES, ids=repr)
def test_traced_steps_change_the_coefficient_without_a_new_trace(schedule):
    jax = pytest.importorskip("jax", reason="jax is not installed")
    traces = []

    @jax.jit
    def coefficient(step):
        traces.append(step)
        return schedule(step)

    found = [float(coefficient(step)) for step in STEPS]
    assert found == pytest.approx([schedule(step) for step in STEPS], abs=1e-6)
    assert len(traces) == 1


def test_in_a_tf_function():
    tf = pytest.importorskip("tensorflow", reason="tensorflow is not installed")
    traces = []

    @tf.function
    def coefficients(step):
        traces.append(step)
        return [schedule(step) for schedule in EXAMPLES]

    variable = tf.Variable(0, dtype=tf.int64)  # as an optimizer counts
    for step in STEPS:
        variable.assign(step)
        assert [float(c) for c in coefficients(variable)] == pytest.approx([s(step) for s in EXAMPLES], abs=1e-6)
    assert len(traces) == 1


def test_in_torch_compile():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    traces = []
    compiled = torch.compile(
        lambda step: [schedule(step) for schedule in EXAMPLES],
        fullgraph=True,
        backend=lambda graph, _: traces.append(graph) or graph.forward,
    )
    for step in STEPS:
        found = [float(c) for c in compiled(torch.tensor(step))]
        assert found == pytest.approx([schedule(step) for schedule in EXAMPLES], abs=1e-6)
    assert len(traces) == 1


def test_numpy_scalars_are_arrays():
    assert Linear(start=0.0, stop=1.0, steps=4)(np.int64(1)) == np.float32(0.25)


@pytest.mark.parametrize("schedule", EXAMPLES, ids=repr)
def test_json_round_trip(schedule):
    copy = from_config(json.loads(json.dumps(to_config(schedule))))
    assert copy == schedule
    assert hash(copy) == hash(schedule)


def test_functions_and_strangers_have_no_json_form():
    with pytest.raises(TypeError, match="stays in code"):
        to_config(lambda step: 1.0)
    with pytest.raises(ValueError, match=r"'Linea', which is no known schedule; is it one of \['Linear'"):
        from_config({"type": "Linea"})
    with pytest.raises(ValueError, match="no known schedule"):
        from_config({"type": "L2"})
    with pytest.raises(ValueError, match=r"lacks the fields \['steps'\].*steps: an int"):
        from_config({"type": "Linear", "start": 0.0, "stop": 1.0})


@pytest.mark.parametrize(
    ("kind", "fields", "error", "words"),
    [
        (Constant, {"value": math.nan}, ValueError, "Constant got value=nan; expected a finite float"),
        (Constant, {"value": "1"}, TypeError, "value='1', which is a str"),
        (Linear, {"start": 0.0, "stop": 1.0, "steps": 0}, ValueError, "steps=0; expected at least 1"),
        (Linear, {"start": 0.0, "stop": 1.0, "steps": 2.0}, TypeError, "steps=2.0, which is a float"),
        (Cosine, {"start": 0.0, "stop": 1.0, "steps": 1, "delay": -1}, ValueError, "delay=-1"),
        (Step, {"values": (1.0,), "milestones": (1,)}, ValueError, "one value more"),
        (Step, {"values": (1.0, 0.0, 1.0), "milestones": (2, 2)}, ValueError, "later than the one before"),
        (Step, {"values": (1.0, 0.0), "milestones": (0,)}, ValueError, "positive steps"),
        (Cyclic, {"low": 0.0, "high": 1.0, "period": 1}, ValueError, "period=1; expected at least 2"),
        (Cyclic, {"low": 0.0, "high": 1.0, "period": 4, "shape": "saw"}, ValueError, "'triangular' or 'cosine'"),
    ],
)
def test_bad_fields_are_refused(kind, fields, error, words):
    with pytest.raises(error, match=words):
        kind(**fields)


@pytest.mark.parametrize("schedule", EXAMPLES, ids=repr)
def test_bad_steps_are_refused(schedule):
    for step in (1.0, True, math.nan):
        with pytest.raises(TypeError, match=r"got .* for a step; expected an int"):
            schedule(step)
    with pytest.raises(ValueError, match="got the step -1"):
        schedule(-1)
    for array in (np.ones(()), np.ones((1,), dtype=np.int32)):
        with pytest.raises(TypeError, match="0-d array of integers"):
            schedule(array)


def test_schedules_are_values():
    assert len(set(EXAMPLES)) == len(EXAMPLES)
    assert Linear(start=0, stop=1, steps=2) == Linear(start=0.0, stop=1.0, steps=np.int64(2))
    assert Linear(start=0, stop=1, steps=2) != Cosine(start=0, stop=1, steps=2)


# The driver


def test_sets_the_coefficients_of_step_0_at_once_and_the_next_with_each_step():
    calls = []
    driver = Schedules(
        {"AR": Linear(start=0.0, stop=1.0, steps=2), "TAR": lambda step: 10 - step}, lambda *call: calls.append(call)
    )
    assert calls == [("AR", 0.0), ("TAR", 10.0)]
    driver.step()
    assert calls[2:] == [("AR", 0.5), ("TAR", 9.0)]
    assert driver.coefficients() == {"AR": 0.5, "TAR": 9.0}
    assert driver.state_dict() == {"step": 1}


def test_resumes_at_once():
    schedules = {"AR": Cosine(start=1.0, stop=0.0, steps=10)}
    whole, first, resumed = {}, {}, {}
    one, two = Schedules(schedules, whole.__setitem__), Schedules(schedules, first.__setitem__)
    for _ in range(5):
        one.step()
    for _ in range(3):
        two.step()
    state = json.loads(json.dumps(two.state_dict()))
    three = Schedules(schedules, resumed.__setitem__)
    three.load_state_dict(state)
    assert resumed == first
    three.step()
    three.step()
    assert resumed == whole


@pytest.mark.parametrize(
    ("state", "error"),
    [({"step": -1}, ValueError), ({"step": 1.0}, TypeError), ({}, ValueError), ({"at": 1}, ValueError)],
)
def test_a_bad_state_is_refused_and_changes_nothing(state, error):
    found = {}
    driver = Schedules({"AR": Linear(start=0.0, stop=1.0, steps=2)}, found.__setitem__)
    driver.step()
    with pytest.raises(error):
        driver.load_state_dict(state)
    assert found == driver.coefficients() == {"AR": 0.5}


@pytest.mark.parametrize(
    ("schedule", "error", "words"),
    [
        (0.5, TypeError, r"'AR' got 0.5; expected a schedule, such as Constant\(value=0.5\)"),
        (lambda step: math.nan, ValueError, "'AR' gave nan at step 0"),
        (lambda step: None, TypeError, "'AR' gave None at step 0, which is a NoneType"),
        (lambda step: "1", TypeError, "gave '1'"),
    ],
)
def test_what_gives_no_finite_number_is_refused_before_anything_is_set(schedule, error, words):
    found = {}
    with pytest.raises(error, match=words):
        Schedules({"TAR": Constant(value=1.0), "AR": schedule}, found.__setitem__)
    assert found == {}


def test_infinite_later_names_the_step():
    driver = Schedules({"AR": lambda step: 1.0 if step < 2 else math.inf}, lambda term, value: None)
    driver.step()
    with pytest.raises(ValueError, match="'AR' gave inf at step 2"):
        driver.step()
    assert driver.state_dict() == {"step": 1}


# In use


def test_drives_a_torch_layer():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    import regcore_torch

    layer = regcore_torch.Regularize(2.0 * AR() + TAR())
    model = torch.nn.Sequential(layer)
    reg = regcore_torch.regularize(model)
    driver = Schedules({"TAR": Step(values=(0.0, 4.0), milestones=(1,))}, layer.set_coefficient)
    x = torch.tensor([[[1.0], [2.0], [4.0]]], requires_grad=True)  # AR = 7, TAR = 2.5
    totals = []
    for _ in range(2):
        model(x)
        totals.append(reg.combine(torch.zeros(())).item())
        driver.step()
    assert totals == [2 * 7.0 + 0.0 * 2.5, 2 * 7.0 + 4 * 2.5]
    with pytest.raises(ValueError, match="has no term 'L1'"):
        Schedules({"L1": Constant(value=1.0)}, layer.set_coefficient)


def test_drives_flax_under_jit_without_a_new_trace():
    jax = pytest.importorskip("jax", reason="jax is not installed")
    pytest.importorskip("flax", reason="flax is not installed")
    import regcore_flax

    module = regcore_flax.Regularize(3.0 * L2())
    schedule = Linear(start=0.0, stop=1.0, steps=4)
    traces = []

    @jax.jit
    def loss(x, step):
        traces.append(step)
        _, state = module.apply({}, x, mutable=["penalties"])
        return regcore_flax.combine(0.0, state, coefficients={"**/L2": schedule(step)})

    x = np.full((2, 3), 2.0, dtype=np.float32)  # L2 = 4
    assert [float(loss(x, step)) for step in range(6)] == [0.0, 1.0, 2.0, 3.0, 4.0, 4.0]
    assert len(traces) == 1
