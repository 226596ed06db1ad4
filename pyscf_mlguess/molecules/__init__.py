"""Molecules: the one geometry type of labels, training and benchmark, its labels, and the files of both."""
