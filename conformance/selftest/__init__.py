"""The self-test: does the harness pass correct devices, and catch wrong ones?

Devices are simulated: a model is interpreted node by node, and every node computes in the formats, the rounding and the order
of summation that the device declares (`simulate.py`). A defect is injected at nodes inside the model, in what they put out,
or in what the device remembers (`defects/`). The same judges that decide about a real device then decide about it
(`judging.py`), with ONNX's own tolerance, cosine and SQNR beside them as columns only. What came out is counted per kind of
defect and per tier (`matrix.py`) and told as a table, as JSON, as Markdown and as a plot (`telling.py`, `plotting.py`).
"""
