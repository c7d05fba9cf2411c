"""Readings of meters made into quantities with uncertainty: pure, from a recorded trace alone."""
