"""What runs on ONNX Runtime: text embeddings and Whisper. Imported in a worker process only."""
