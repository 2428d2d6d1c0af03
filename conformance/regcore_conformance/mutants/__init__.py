"""Mistakes that are planted in penalties by the hundred, and the trials in which the suite must find them."""
