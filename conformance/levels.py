"""The levels of a run: how much of the plan is run, and for how long where time is what is measured."""

SMOKE, FULL, CERTIFY = LEVELS = ("smoke", "full", "certify")
"""One case per operator; everything, timed cases for a short while; everything, timed cases for as long as a certificate asks."""
