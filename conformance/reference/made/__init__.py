"""Operator cases of our own: operator × type × since_version × attribute value, beyond ONNX's own cases.

`rows.py` gives the words of the tables, `draws.py` what inputs are filled with. Each table is one family: `elementwise.py`,
`reductions.py`, `contractions.py`, `pooling.py`, `movement.py`, `recurrent.py`, `attention.py`, `quantised.py`, `images.py`,
`structure.py`, `classical.py`. `listing.py` multiplies rows with versions and types, `building.py` makes models of them,
`index.py` is what plans read, `limits.py` what outputs are judged by, `counting.py` the denominator.
"""
