"""Features of a sparse autoencoder, weighted by what they write."""

from .arithmetic import Real
from .loops import Formula, Given, counts, lines, norm, positive, reduced, total


def decoder_weighted_l1(given: Given) -> Real:
    """mean over samples of the sum over features of |x_i| |d_i|; T. Conerly et al., Circuits Updates (April 2024)."""
    norms = [norm(list(row)) for row in given.params["decoder"]]
    terms = []
    for line in lines(given.x.shape, *positive(given.fields.feature_axis, given.x)):
        if counts(given.mask, line[0]):
            terms.append(total(abs(given.x[index]) * norms[feature] for feature, index in enumerate(line)))
    return reduced(given, terms)


FORMULAS: dict[str, Formula] = {"DecoderWeightedL1": decoder_weighted_l1}
