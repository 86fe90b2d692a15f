"""faster-whisper in a process of its own: 30 s of float32 samples in, one JSON line out, until its input ends.

    python faster_whisper_child.py MODEL STEPS THREADS

Runs in an environment of its own, and so needs nothing of this repository.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
from faster_whisper import WhisperModel  # type: ignore[import-not-found]

SAMPLES = 30 * 16_000


def main() -> None:
    steps, threads = int(sys.argv[2]), int(sys.argv[3])
    whisper = WhisperModel(sys.argv[1], device="cpu", compute_type="int8", cpu_threads=threads)
    names = ("<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>")
    prompt = [whisper.hf_tokenizer.token_to_id(name) for name in names]
    end = whisper.hf_tokenizer.token_to_id("<|endoftext|>")
    while data := sys.stdin.buffer.read(SAMPLES * 4):
        audio = np.frombuffer(data, dtype="<f4")
        started = time.perf_counter()
        features = whisper.feature_extractor(audio)[:, :3000]
        (heard,) = whisper.model.generate(
            whisper.encode(features),
            [prompt],
            beam_size=1,
            max_length=2 * steps,  # CTranslate2 decodes half as many after a prompt
            suppress_tokens=[end],
            suppress_blank=False,
        )
        seconds = time.perf_counter() - started
        print(json.dumps({"seconds": seconds, "tokens": len(heard.sequences_ids[0])}), flush=True)


if __name__ == "__main__":
    main()
