"""Tier 2: which class every operator belongs to, and what its outputs are judged by.

`table.py` names every operator with its class and where that comes from; `laws.py` and `contractions.py` hold the
formulas of the classes; `carrying.py` says how errors of the inputs reach the outputs; `bodies.py` spells operators out as
simpler ones; `bounding.py` puts them together for one model.
"""
