"""Counts SCF cycles from different guesses: protocol -> molecules -> runs (JSONL) -> report."""
