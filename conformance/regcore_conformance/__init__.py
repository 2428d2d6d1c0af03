"""The conformance suite of regcore: proof that every library gives the same values and gradients, within a bound."""
