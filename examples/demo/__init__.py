"""The demo: the same penalties in PyTorch, Flax and Keras, from the same weights, on real data."""
