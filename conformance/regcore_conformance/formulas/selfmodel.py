"""A network that predicts its own activations."""

from .arithmetic import Real, dot
from .loops import Formula, Given, counts, lines, reduced


def self_model(given: Given) -> Real:
    """mean of (W x + b - t)^2 over samples and features, t = x if there are no targets; V. N. Premakumar et al.,
    arXiv:2407.10188. `gradient` says whether the input or the target is regarded as constant.
    """
    x, W, b, gradient = given.x, given.params["W"], given.params["b"], given.fields.gradient
    inputs = given.held["x"] if gradient == "input_detached" else x
    other = given.fields.targets is not None
    source = given.held if gradient == "target_detached" else {**given.params, "x": x}
    targets = source["targets"] if other else source["x"]
    terms = []
    for line in lines(x.shape, x.ndim - 1):
        if counts(given.mask, line[0]):
            sample, target = [inputs[index] for index in line], targets[line[0][:-1]]
            terms += [(dot(list(W[i]), sample) + b[i] - target[i]) ** 2 for i in range(len(b))]
    return reduced(given, terms)


FORMULAS: dict[str, Formula] = {"SelfModel": self_model}
