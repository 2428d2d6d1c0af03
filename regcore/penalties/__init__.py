"""The maths, one file for each family of penalties."""
