"""Shows that OpenVINO's provider leaves the output of a one-input Max, Min or Sum unwritten. See openvino.md."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper

ort.set_default_logger_severity(4)
for op in ("Max", "Min", "Sum", "Identity"):
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node(op, ["x"], ["y"])], op, ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    session = ort.InferenceSession(model.SerializeToString(), providers=["OpenVINOExecutionProvider"])
    print(op, session.run(None, {"x": np.array([3, 2, 1], np.float32)})[0])
