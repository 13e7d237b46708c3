"""The models: in come pixels, out come boxes, landmarks, aligned crops and vectors. The only home of onnxruntime."""
