"""Penalties by name: `get`, and the settings that published work used."""

import reprlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from . import config
from .composition import Scaled, Sum
from .penalty import Penalty


class Preset(NamedTuple):
    """A penalty with the weight and the fields of a publication; where a field is needed too, `get` takes it."""

    kind: str  # its class, by name
    weight: float
    fields: Mapping[str, Any]
    reproduces: str  # in one line: what, and what not
    source: str


_AWD_LSTM = "S. Merity, N. S. Keskar, R. Socher, arXiv:1708.02182, with the code salesforce/awd-lstm-lm"
_FASTAI = "the RNN callbacks of fastai 2, with the alpha and beta of its text learners"
_LBE = "D. Peer et al., arXiv:2208.01134"
_VICREG = "A. Bardes, J. Ponce, Y. LeCun, arXiv:2105.04906"

PRESETS: dict[str, Preset] = {
    "awd_lstm_ar": Preset(
        "L2", 2.0, {}, "alpha = 2, on the output of the last recurrent layer after dropout; time first", _AWD_LSTM
    ),
    "awd_lstm_tar": Preset(
        "TAR", 1.0, {"time_axis": 0}, "beta = 1, on the output of the last recurrent layer before dropout", _AWD_LSTM
    ),
    "fastai_ar": Preset(
        "L2", 2.0, {}, "alpha = 2, on the output of the last layer after dropout; batch first", _FASTAI
    ),
    "fastai_tar": Preset(
        "TAR",
        1.0,
        {"time_axis": 1},
        "beta = 1, on the raw output of the last layer; for a batch of 1 too, which fastai leaves out",
        _FASTAI,
    ),
    "lbe_torch": Preset(
        "BatchEntropy",
        1.0,
        {"alpha": 0.5, "alpha_min": 0.2, "beta": 0.5, "correction": 1},
        "one layer of the authors' PyTorch code; they average over layers, so give each of L layers weight=1/L",
        f"{_LBE}, with the code peerdavid/layerwise-batch-entropy",
    ),
    "lbe_tf": Preset(
        "BatchEntropy",
        1.5,
        {"alpha": 0.5, "alpha_min": 0.3, "beta": 0.2, "correction": 0},
        "one layer of the TensorFlow port, as it was meant: LBE_strength = 1.5, an average over layers (weight=1.5/L); "
        "not its division by the batch size nor its gradients times L, which were accidents",
        f"{_LBE}, in the port mathispink/BatchEntropyRegularization",
    ),
    "selfmodel_2024": Preset(
        "SelfModel",
        1.0,
        {"gradient": "target_detached"},
        "auxiliary weight 1, the mean squared error of predicting a layer whose gradient is stopped; needs features=",
        "V. N. Premakumar et al., arXiv:2407.10188, with their code",
    ),
    "vicreg_variance": Preset(
        "Variance", 25.0, {}, "mu = 25, for each of the two views; the authors' code halves it", _VICREG
    ),
    "vicreg_covariance": Preset("Covariance", 1.0, {}, "nu = 1, for each of the two views", _VICREG),
    "ortsae": Preset(
        "MaxCosine",
        1.0,
        {},
        "on the decoder rows, over the whole dictionary instead of random chunks of it; choose the weight yourself",
        "A. Korznikov et al., arXiv:2509.22033",
    ),
}


def get(name: Any, /, *, weight: float | None = None, **fields: Any) -> Penalty:
    """A penalty by the name of its class, of a preset, or by data that says so; upper and lower case are the same.

    `fields` go to the class, over those of a preset. With a `weight`, or that of a preset, the result is
    `weight * penalty`. Data are a mapping with the key "name", whose other keys are `weight` and fields, a mapping as
    `to_config` gives, or a list of names and mappings, which is their sum. `regcore list` prints the names.

    Raises ValueError for an unknown name or field, with those like it, and for a required field that is missing;
    TypeError for data of another form and for fields of the wrong type.

    >>> print(get("tar", weight=0.5, time_axis=0))
    Scaled(weight=0.5, penalty=TAR(time_axis=0))
    >>> get("awd_lstm_ar") == 2.0 * AR()
    True
    >>> get([{"name": "l1", "weight": 0.1}, "tar"]) == 0.1 * L1() + TAR()
    True
    """
    if isinstance(name, str):
        return _named(name, weight, fields)
    if weight is not None or fields:
        raise TypeError(
            f"get got {reprlib.repr(name)} with a weight or fields, which only a name takes: put them in it"
        )
    if isinstance(name, Penalty):
        return name
    if isinstance(name, (list, tuple)):
        return Sum(parts=tuple(get(part) for part in name))
    if not isinstance(name, Mapping) or not {"name", "type"} & name.keys():
        raise TypeError(
            f"get got {reprlib.repr(name)}, which is a {type(name).__name__}; expected a name, a mapping with the key "
            "'name' or as to_config gives, or a list of these"
        )
    if "type" in name:
        return config.from_config(name)
    kinds = config.known_kinds()
    described = {key: config.read(value, kinds) for key, value in name.items() if key != "name"}
    return _named(name["name"], described.pop("weight", None), described)


def find(name: str) -> tuple[type[Penalty], Preset | None]:
    """The class that a name stands for, and the preset if it is one. ValueError for an unknown name."""
    kinds = config.catalogue()
    classes = {key.casefold(): kind for key, kind in (config.public() | kinds).items()}
    if isinstance(name, str) and name.casefold() in PRESETS:
        preset = PRESETS[name.casefold()]
        return kinds[preset.kind], preset
    if not isinstance(name, str) or name.casefold() not in classes:
        near = config.near(name, (*config.public(), *kinds, *PRESETS))
        raise ValueError(f"{reprlib.repr(name)} is no known penalty and no preset; is it one of {near}?")
    return classes[name.casefold()], None


def _named(name: str, weight: float | None, fields: Mapping[str, Any]) -> Penalty:
    kind, preset = find(name)
    penalty: Penalty = config.construct(kind, {**(preset.fields if preset else {}), **fields})
    if weight is None:
        if preset is None:
            return penalty
        weight = preset.weight
    scaled: Penalty = config.construct(Scaled, {"weight": weight, "penalty": penalty})
    return scaled
