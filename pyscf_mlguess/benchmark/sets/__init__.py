"""The shipped molecule sets and the script that makes them."""
