"""Text encoders that make vectors: from a Hugging Face checkpoint to one ONNX graph, pooling and all."""
