"""Models of other packages, regularized by the lines that end in `# +`; the gradients are checked by hand-written ones.

Run one by `python -m examples.embedding.transformers_encoder`.
"""
