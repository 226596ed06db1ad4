"""Counts Fock builds from different guesses: protocol -> molecules -> runs (JSONL) -> report."""
