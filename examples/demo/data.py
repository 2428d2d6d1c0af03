"""Small images of digits, as (images, rows, columns) in [0, 1], split into a training and a test set."""

import gzip
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_digits

MNIST = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")


class Data(NamedTuple):
    """Images and labels to train on and to test on."""

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray

    def shaped(self, input_shape: tuple[int, ...]) -> "Data":
        """With images as a network takes them."""
        train, test = (images.reshape(-1, *input_shape) for images in (self.train_images, self.test_images))
        return self._replace(train_images=train, test_images=test)


def load(folder: Path | None) -> Data:
    """The digits that come with scikit-learn, or the MNIST files in `folder`."""
    return digits() if folder is None else mnist(folder)


def digits() -> Data:
    """1797 images of 8 x 8 pixels: 1397 to train on, 400 to test on."""
    source = load_digits()
    order = np.random.default_rng(0).permutation(len(source.images))
    return _split("scikit-learn's digits", source.images[order] / 16, source.target[order], 1397)


def mnist(folder: Path) -> Data:
    """The 10,000 test images of MNIST, of 28 x 28 pixels: 8,000 to train on, 2,000 to test on."""
    if missing := [name for name in MNIST if not (folder / name).is_file()]:
        raise FileNotFoundError(
            f"{folder} has no {' and no '.join(missing)}; --data needs a folder with the MNIST test set in its two "
            f"files {' and '.join(MNIST)}: download them, or leave --data out for scikit-learn's digits"
        )
    images, labels = (_read_idx(folder / name) for name in MNIST)
    return _split("MNIST test images", images / 255, labels, 8000)


def _split(name: str, images: np.ndarray, labels: np.ndarray, at: int) -> Data:
    images, labels = images.astype(np.float32), labels.astype(np.int32)
    return Data(name, images[:at], labels[:at], images[at:], labels[at:])


def _read_idx(path: Path) -> np.ndarray:
    """An array of bytes: its rank is the fourth byte, then the sizes follow as big-endian integers."""
    content = gzip.decompress(path.read_bytes())
    rank = content[3]
    shape = np.frombuffer(content, ">i4", count=rank, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)
