"""Finding one's way: `get`, presets, penalties of other packages, and the command `regcore`."""

import json
import subprocess
import sys

import numpy as np
import packages
import pytest

from regcore import AR, L1, L2, TAR, BatchEntropy, annotations, cli, from_config, plugins, presets, to_config
from regcore.config import catalogue, own, public
from regcore.presets import PRESETS, get

X = np.linspace(-1.0, 1.0, 24).reshape(4, 3, 2) ** 3  # 4 steps of 3 samples of 2 units


@pytest.mark.parametrize(
    ("description", "spec"),
    [
        ("TAR", TAR()),
        ("tar", TAR()),
        ("batchentropy", BatchEntropy()),
        ("ar", AR()),
        ("awd_lstm_tar", 1.0 * TAR(time_axis=0)),
        ("AWD_LSTM_AR", 2.0 * L2()),
        ({"name": "tar", "weight": 0.5, "time_axis": 0}, 0.5 * TAR(time_axis=0)),
        ({"name": "lbe_torch", "batch_axis": [0, 1]}, 1.0 * BatchEntropy(batch_axis=(0, 1))),
        ({"name": "tar", "weight": 1}, 1.0 * TAR()),
        (["ar", {"name": "l1", "weight": 0.1}, 3.0 * TAR()], AR() + 0.1 * L1() + 3.0 * TAR()),
        (to_config(2.0 * AR() + TAR()), 2.0 * AR() + TAR()),
        (TAR(), TAR()),
    ],
    ids=str,
)
def test_get(description, spec):
    assert get(description) == spec


def test_weight_and_fields_go_over_those_of_a_preset():
    assert get("awd_lstm_tar", weight=0.5, time_axis=2) == 0.5 * TAR(time_axis=2)
    assert get("lbe_tf", alpha=3.0) == 1.5 * BatchEntropy(alpha=3.0, alpha_min=0.3, beta=0.2, correction=0)
    assert get("tar", weight=np.float32(0.5)) == 0.5 * TAR()


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["tarr"], ValueError, r"'tarr' is no known penalty and no preset; is it one of \['TAR'"),
        (["awd_lstm_arr"], ValueError, r"is it one of \['awd_lstm_ar'"),
        (["Scaled"], ValueError, "no known penalty"),
        ([{"name": "tar", "time_axes": 0}], ValueError, r"unknown fields \['time_axes'\]; it has \['time_axis'"),
        ([{"name": "tar", "time_axis": "0"}], TypeError, "time_axis='0', which is a str"),
        ([{"name": "tar", "weight": "1"}], TypeError, "weight='1', which is a str"),
        ([{"name": "tar", "weight": float("nan")}], ValueError, "weight=nan"),
        ([{"name": 3}], ValueError, "3 is no known penalty"),
        ([{"weight": 3}], TypeError, "a mapping with the key 'name'"),
        ([3], TypeError, "which is a int"),
        ([None], TypeError, "which is a NoneType"),
        ([["tar", 3]], TypeError, "which is a int"),
        ([[]], ValueError, "at least one part"),
    ],
    ids=str,
)
def test_what_names_no_penalty_is_refused(arguments, error, words):
    with pytest.raises(error, match=words):
        get(*arguments)


def test_a_weight_beside_data_is_refused():
    with pytest.raises(TypeError, match="put them in it"):
        get({"name": "tar"}, weight=2.0)


def test_every_penalty_is_found_by_its_name_and_no_name_means_two():
    names = [*public(), *PRESETS]
    assert len({name.casefold() for name in names}) == len(names)
    for name, kind in public().items():
        assert presets.find(name.lower()) == (kind, None)
    for kind in own().values():
        assert not {"name", "type", "weight"} & annotations.of(kind).keys()  # which `get` takes for itself


# Presets against the formulas of their publications, in plain loops


def spec_of(name):
    """The preset, where it needs a field with that of the first example of its class."""
    kind, preset = presets.find(name)
    example = next(kind.examples())
    needed = {field: getattr(example.spec, field) for field in required(kind) if field not in preset.fields}
    return get(name, **needed)


def required(kind):
    return [name for name, field in kind.__dataclass_fields__.items() if field.default is field.default_factory]


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_penalty_that_exists(name):
    preset = PRESETS[name]
    assert preset.kind in own(), f"the class {preset.kind} of the preset {name} is not in the catalogue"
    spec = spec_of(name)
    assert type(spec.penalty).__name__ == preset.kind
    assert spec.weight == preset.weight
    assert preset.reproduces
    assert preset.source


def test_awd_lstm():
    ar = 2.0 * sum(x**2 for x in X.flat) / X.size
    steps = [(X[t] - X[t - 1]) ** 2 for t in range(1, 4)]
    assert float(get("awd_lstm_ar")(X)) == pytest.approx(ar, rel=1e-14)
    assert float(get("awd_lstm_tar")(X)) == pytest.approx(np.mean(steps), rel=1e-14)


def test_fastai_is_batch_first():
    batch_first = np.swapaxes(X, 0, 1)
    assert float(get("fastai_tar")(batch_first)) == pytest.approx(float(get("awd_lstm_tar")(X)), rel=1e-14)
    assert float(get("fastai_ar")(batch_first)) == pytest.approx(float(get("awd_lstm_ar")(X)), rel=1e-14)


@pytest.mark.parametrize(("name", "n", "t", "strength"), [("lbe_torch", 3, 0.5, 0.5), ("lbe_tf", 4, 0.5, 1.5 * 0.2)])
def test_layer_batch_entropy(name, n, t, strength):
    x = np.asarray([[0.0, 1.0], [0.0, 2.0], [0.0, 3.0], [0.0, 4.0]])  # squares around the mean add up to 0 and 5
    entropy = sum(0.5 * np.log(np.pi * np.e * square / n + 1) for square in (0.0, 5.0)) / 2
    spec = get(name)
    assert float(spec(x, spec.init())) == pytest.approx(strength * (entropy - t) ** 2, rel=1e-12)
    assert spec.terms()[0].coupled


# Penalties of other packages


def install(folder, name, entry_points, code):
    packages.install(folder, name, plugins.GROUP, entry_points, code)


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    plugins.installed.cache_clear()
    yield tmp_path
    plugins.installed.cache_clear()
    for path in tmp_path.glob("*.py"):
        sys.modules.pop(path.stem, None)


GOOD = """
    import regcore

    __all__ = ["AcmeCubic", "acme_function", "AcmeOther"]

    class AcmeCubic(regcore.L2):
        '''`mean(x**3)`: for tests.'''

    class AcmeOther(regcore.L1):
        pass

    class AcmeHidden(regcore.L1):
        pass

    def acme_function():
        pass
"""


def test_a_package_declares_a_class(site):
    install(site, "acme_one", {"any": "acme_one:AcmeCubic"}, GOOD)
    import acme_one

    assert catalogue() == own() | {"AcmeCubic": acme_one.AcmeCubic}
    assert get("acmecubic", weight=2.0) == 2.0 * acme_one.AcmeCubic()
    assert from_config(to_config(2.0 * acme_one.AcmeCubic())) == 2.0 * acme_one.AcmeCubic()


def test_a_package_declares_a_module_and_its_all_counts(site):
    install(site, "acme_two", {"all": "acme_two"}, GOOD)
    assert catalogue().keys() - own().keys() == {"AcmeCubic", "AcmeOther"}


@pytest.mark.parametrize(
    ("code", "target", "words"),
    [
        ("raise OSError('no licence')", "acme_bad", "OSError: no licence"),
        ("", "acme_bad:Missing", "AttributeError"),
        ("", "acme_bad", "has no attribute '__all__'"),
        ("x = 3", "acme_bad:x", "expected a class derived from regcore.Penalty"),
        ("import regcore\nclass A(regcore.Penalty): pass", "acme_bad:A", "expected a class derived"),
        (
            "import regcore\nclass A(regcore.L1):\n  @classmethod\n  def examples(cls): return iter(())",
            "acme_bad:A",
            "gives no examples",
        ),
        ("import regcore\nclass TAR(regcore.L1): pass", "acme_bad:TAR", "has the name 'TAR', which is taken"),
        ("import regcore\nclass Ar(regcore.L1): pass", "acme_bad:Ar", "has the name 'Ar', which is taken"),
        ("import regcore\nclass Sum(regcore.L1): pass", "acme_bad:Sum", "has the name 'Sum', which is taken"),
    ],
)
def test_a_bad_package_is_named_and_takes_nothing_down(site, code, target, words):
    install(site, "acme_bad", {"bad": target}, code)
    install(site, "acme_also", {"good": "acme_also:AcmeCubic"}, GOOD)
    with pytest.warns(RuntimeWarning) as caught:
        found = catalogue()
    (message,) = [str(warning.message) for warning in caught]
    assert words in message
    assert "of the package 'acme_bad'" in message
    assert own().items() <= found.items()
    assert found.keys() - own().keys() == {"AcmeCubic"}


def test_of_two_packages_with_one_name_the_first_is_kept(site):
    install(site, "acme_five", {"good": "acme_five:AcmeCubic"}, GOOD)
    install(site, "acme_six", {"also": "acme_six:AcmeCubic"}, GOOD)
    with pytest.warns(RuntimeWarning, match="has the name 'AcmeCubic', which is taken"):
        found = catalogue()
    assert found.keys() - own().keys() == {"AcmeCubic"}


def test_the_same_class_twice_is_no_clash(site):
    install(site, "acme_three", {"all": "acme_three", "one": "acme_three:AcmeCubic"}, GOOD)
    assert catalogue().keys() - own().keys() == {"AcmeCubic", "AcmeOther"}


def test_a_config_imports_nothing(site):
    (site / "acme_trap.py").write_text("raise SystemExit('imported')")
    for name in ("acme_trap", "acme_trap:Any", "acme_trap.Any"):
        with pytest.raises(ValueError, match="no known penalty"):
            get({"type": name})
        with pytest.raises(ValueError, match="no known penalty"):
            get({"name": name})
    assert "acme_trap" not in sys.modules


# The command


def test_list_names_every_penalty_and_preset(capsys):
    assert cli.main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for kind in own().values():
        (line,) = [line for line in lines if line.split()[:1] == [kind.__name__]]
        assert cli.formula(kind) in line
    assert {line.split()[0] for line in lines if line} >= PRESETS.keys()
    assert "AR is L2" in lines


def test_list_says_where_a_penalty_of_others_comes_from(site, capsys):
    install(site, "acme_four", {"one": "acme_four:AcmeCubic"}, GOOD)
    assert cli.main(["list"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("AcmeCubic")]
    assert line.split()[-1] == "acme_four"


@pytest.mark.parametrize("kind", own().values(), ids=lambda kind: kind.__name__)
def test_show_says_all(kind, capsys):
    assert cli.main(["show", kind.__name__.lower()]) == 0
    out = capsys.readouterr().out
    assert cli.formula(kind)
    assert f"    {cli.formula(kind)}\n" in out
    for line in kind.__doc__.splitlines():
        assert line.strip() in out
    for name, annotation in annotations.of(kind).items():
        assert any(line.split()[:1] == [name] and annotations.text(annotation) in line for line in out.splitlines())
    (learned,) = [line for line in out.splitlines() if line.startswith("learned parameters: ")]
    assert learned.removeprefix("learned parameters: ") == (", ".join(next(kind.examples()).spec.init()) or "none")


def test_show_a_preset(capsys):
    assert cli.main(["show", "LBE_TF"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("lbe_tf = 1.5 * BatchEntropy(alpha=0.5, alpha_min=0.3, beta=0.2, correction=0)\n")
    assert "accidents" in out
    assert "it multiplies the task loss" in out


def test_get_prints_a_config_that_reads_back(capsys):
    assert cli.main(["get", '[{"name": "tar", "weight": 0.5, "time_axis": 0}, "ar"]']) == 0
    *_, line = capsys.readouterr().out.splitlines()
    assert get(json.loads(line)) == 0.5 * TAR(time_axis=0) + AR()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "tarr"], "is it one of ['TAR'"),
        (["get", "{tar}"], "is no JSON"),
        (["get", '{"name": "tar", "x": 1}'], "unknown fields ['x']"),
    ],
)
def test_what_cannot_be_found_is_exit_code_2(arguments, words, capsys):
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err


@pytest.mark.parametrize("arguments", [[], ["lst"], ["show"]])
def test_wrong_usage_is_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert "usage: regcore" in capsys.readouterr().err


def test_conform_passes_its_options_on():
    command = [sys.executable, "-m", "regcore", "conform", "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0
    assert "regcore_conformance" in done.stdout
    assert "--penalties" in done.stdout


def test_conform_without_the_suite_says_so(monkeypatch, capsys):
    monkeypatch.setattr(cli, "SUITE", "regcore_not_there")
    assert cli.main(["conform"]) == 2
    assert "regcore_not_there is not here" in capsys.readouterr().err


def test_the_command_loads_no_framework_and_a_closed_pipe_is_no_error():
    code = (
        "import sys; from regcore.cli import main; main(['list']); main(['show', 'tar']); "
        "print({name.split('.')[0] for name in sys.modules} & {'torch', 'jax', 'flax', 'tensorflow', 'keras'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "set()"
    shell = f"{sys.executable} -m regcore list | true"
    assert subprocess.run(shell, shell=True, capture_output=True, text=True).stderr == ""
