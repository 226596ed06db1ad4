"""Training: reference calculations -> targets and metrics -> weights."""
