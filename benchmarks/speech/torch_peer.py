"""What transformers hears in FP32, for `transcribe_file_rows.py`: run by a Python that has torch and transformers.

    PYTHON transcribe_torch.py CHECKPOINT FOLDER

FOLDER has 16 kHz mono WAVs and transcripts.json. Greedy, 30 s windows. Prints {file: text} as JSON.
"""

from __future__ import annotations

import json
import sys
import wave
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast, WhisperFeatureExtractor, WhisperForConditionalGeneration


def main(checkpoint: Path, folder: Path) -> None:
    model = WhisperForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32).eval()
    extractor = WhisperFeatureExtractor.from_pretrained(checkpoint)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(checkpoint / "tokenizer.json"))
    heard = {}
    for name in json.loads((folder / "transcripts.json").read_text()):
        with wave.open(str(folder / name)) as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2") / 32768
        features = extractor(samples, sampling_rate=16_000, return_tensors="pt").input_features
        with torch.no_grad():
            tokens = model.generate(features, language="en", task="transcribe", num_beams=1)
        heard[name] = tokenizer.decode(tokens[0], skip_special_tokens=True).strip()
    print(json.dumps(heard))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
