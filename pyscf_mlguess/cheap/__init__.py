"""The cheap problem and what is made of it: refined guesses and the two-level SCF."""
