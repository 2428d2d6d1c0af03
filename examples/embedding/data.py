"""Small data that need no download: digits of scikit-learn, and sentences of an invented grammar."""

import numpy as np
from sklearn.datasets import load_digits


def digits(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (number, 64) with values from 0 to 1, and their classes."""
    images, classes = load_digits(return_X_y=True)
    return images[:number] / 16.0, classes[:number]


def sentences(words: int, number: int, length: int) -> np.ndarray:
    """Each word, an int below `words`, is followed by one of the two after it."""
    rng = np.random.default_rng(0)
    steps = rng.integers(1, 3, size=(number, length))
    return (rng.integers(words, size=(number, 1)) + np.cumsum(steps, axis=1)) % words
