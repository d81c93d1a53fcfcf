"""A bundle's programs as ONNX: written beside Paddle's, and run by ONNX Runtime.

onnx/ of a bundle holds ``model.onnx`` and ``rank.onnx``, the tables and large weights of both in
``weights.bin``, and ``tensors.json``, which gives the place of each of these.
"""

FOLDER = "onnx"
WEIGHTS = "weights.bin"
TENSORS = "tensors.json"
PROGRAMS = ("model", "rank")
OUTPUTS = ("probability", "attention")  # of a program; `model` has the first alone
EXTRA = "pip install paddle2onnx onnx onnxruntime"
