"""What the penalties cost beside the code that people write or publish; `python -m benchmarks` prints the table."""
