"""Monte Carlo arithmetic: a model run again and again in float64, each operation perturbed as a precision would round it.

How far the runs scatter says how far a correct device of that precision may be from the reference: `runs.py` makes the runs,
`rules.py` says which operator is perturbed how, `noise.py` draws the perturbations (docs/numerics.md, tier 3).
"""
