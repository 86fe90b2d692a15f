"""Makes `log_mel.npz` and `commands.json` with transformers: what the tests beside this file compare with.

    python -m tests.engines.onnx.whisper.make_fixtures CHECKPOINT RECORDINGS

CHECKPOINT is a Whisper in Hugging Face's layout, RECORDINGS a folder of wav files and transcripts.json. Needs the
`convert` extra. No test runs it.
"""

from __future__ import annotations

import json
import sys
import wave
from pathlib import Path

import numpy as np

from tests.engines.onnx.whisper.made_audio import glide

HERE = Path(__file__).parent
SHORT_SAMPLES = 8_123
WHOLE_SAMPLES = 30 * 320
MELS = (80, 128)


def log_mels() -> dict[str, np.ndarray]:
    """Of audio padded to 30 s (only the frames up to where silence begins) and of audio that fills its window."""
    from transformers import WhisperFeatureExtractor

    made = {}
    for n_mels in MELS:
        extract = WhisperFeatureExtractor(feature_size=n_mels)._np_extract_fbank_features
        padded = np.pad(glide(SHORT_SAMPLES), (0, 480_000 - SHORT_SAMPLES))
        made[f"padded_{n_mels}"] = extract(padded[None], "cpu")[0][:, : SHORT_SAMPLES // 160 + 4].astype(np.float32)
        made[f"whole_{n_mels}"] = extract(glide(WHOLE_SAMPLES)[None], "cpu")[0].astype(np.float32)
    return made


def commands(checkpoint: Path, recordings: Path) -> dict[str, dict[str, list[int]]]:
    """Greedy tokens of each recording, end of text left out, with and without timestamps."""
    import torch
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

    model = WhisperForConditionalGeneration.from_pretrained(checkpoint).eval()
    extractor = WhisperFeatureExtractor.from_pretrained(checkpoint)
    made: dict[str, dict[str, list[int]]] = {}
    for name in sorted(json.loads((recordings / "transcripts.json").read_text())):
        with wave.open(str(recordings / name)) as file:
            audio = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2").astype(np.float32) / 32768
        features = extractor(audio, sampling_rate=16_000, return_tensors="pt").input_features
        for key, timestamps in (("tokens", False), ("with_timestamps", True)):
            with torch.no_grad():
                sequence = model.generate(
                    features, language="en", task="transcribe", return_timestamps=timestamps, do_sample=False
                )
            end = model.generation_config.eos_token_id
            made.setdefault(name, {})[key] = [token for token in sequence[0].tolist() if token != end]
    return made


def main() -> None:
    np.savez_compressed(HERE / "log_mel.npz", **log_mels())
    made = commands(Path(sys.argv[1]), Path(sys.argv[2]))
    lines = [f"{json.dumps(name)}: {json.dumps(tokens)}" for name, tokens in made.items()]
    (HERE / "commands.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
