"""The example of Keras, where Keras is there already; what makes an example is in test_embedding.py."""

import keras
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
@pytest.mark.skipif(keras.backend.backend() != "torch", reason="elsewhere MobileNetV2 takes a minute to compile")
def test_an_application_learns_and_its_gradients_are_those_written_by_hand():
    from examples.embedding.keras_application import main

    found = main(steps=3)
    assert found.losses[-1] < found.losses[0]
    assert set(found.terms) == {"global_average_pooling2d/L1", "global_average_pooling2d/FLOPS"}
    assert all(value > 0.0 for value in found.terms.values())
    assert found.difference <= 1e-5
