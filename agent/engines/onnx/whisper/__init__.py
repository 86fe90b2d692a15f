"""Whisper on ONNX Runtime and numpy: features, encoder, decoder, and what may be decoded."""
