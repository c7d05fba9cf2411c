"""Shows which models ONNX Runtime answers although ONNX's texts forbid them. See onnxruntime-cpu.md."""

from __future__ import annotations

import onnxruntime as ort

from conformance.reference.malformed import tolerated

ort.set_default_logger_severity(4)
for bad in tolerated():
    session = ort.InferenceSession(bad.model, providers=["CPUExecutionProvider"])
    y = session.run(["y"], bad.feeds)[0]
    print(f"{bad.name}: answers {y.dtype} {list(y.shape)}, y[0,0] = {y[0, 0]}; {bad.breaks}")
