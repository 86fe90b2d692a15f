"""What transformers answers: writes small_whisper.npz and commands.npz beside this file.

Run it with torch and transformers installed; the tests need neither.

    python -m tests.convert.whisper.make_fixtures

`small_whisper.npz`: for each variant in `VARIANTS` the logits of all positions and the cross-attention of the random
model of small_whisper.py.

`commands.npz`, for the trained model in ../shared/models/whisper-commands-hf on the recordings beside it: for all the
greedy text of `generate`; for the first 20 the tokens that follow the prompt, and their logits: all of the first
step in float32, and of every step those of the ids in `watched` (the 32 likeliest at that step and 32 spread over the
vocabulary). The features there are those of transformers; the tests make their own with `log_mel`.
"""

from __future__ import annotations

import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperTokenizerFast

from tests.convert.whisper.small_whisper import FIXTURE, PROMPT, SHORT_FRAMES, config, features, weights

VARIANTS: dict[str, dict[str, Any]] = {
    "tied": {},
    "untied": {"tie_word_embeddings": False},
    "english": {"num_mel_bins": 24, "d_model": 24, "vocab_size": 221},
}
COMMANDS = Path(__file__).with_name("commands.npz")
SHARED = Path(__file__).resolve().parents[4] / "shared"
RECORDINGS = 20
WATCHED = 32


def small() -> dict[str, np.ndarray[Any, Any]]:
    """Logits and cross-attention of each variant, at the full window and a short one."""
    made: dict[str, np.ndarray[Any, Any]] = {}
    for name, changes in VARIANTS.items():
        settings = config(**changes)
        for window, frames in (("full", 2 * settings["max_source_positions"]), ("short", SHORT_FRAMES)):
            tensors = weights(settings)
            # transformers takes the full window only: a shorter one is a model with fewer positions.
            tensors["model.encoder.embed_positions.weight"] = tensors["model.encoder.embed_positions.weight"][
                : frames // 2
            ]
            cut = WhisperConfig(**{**settings, "max_source_positions": frames // 2}, attn_implementation="eager")
            model = WhisperForConditionalGeneration(cut).eval()
            if settings["tie_word_embeddings"]:
                tensors["proj_out.weight"] = tensors["model.decoder.embed_tokens.weight"]
            model.load_state_dict({key: torch.from_numpy(value) for key, value in tensors.items()})
            with torch.no_grad():
                out = model(
                    torch.from_numpy(features(settings, frames)),
                    decoder_input_ids=torch.tensor(PROMPT),
                    output_attentions=True,
                )
            made[f"{name}_{window}_logits"] = out.logits.numpy()
            made[f"{name}_{window}_attention"] = torch.stack(out.cross_attentions).numpy()
    return made


def commands() -> None:
    source = SHARED / "models" / "whisper-commands-hf"
    model = WhisperForConditionalGeneration.from_pretrained(source, attn_implementation="eager").eval()
    extract = WhisperFeatureExtractor.from_pretrained(source)
    tokenizer = WhisperTokenizerFast(tokenizer_file=str(source / "tokenizer.json"))
    names = sorted(json.loads((SHARED / "audio" / "commands" / "transcripts.json").read_text()))
    ids = {
        token: tokenizer.convert_tokens_to_ids(f"<|{token}|>") for token in ("startoftranscript", "en", "transcribe")
    }
    prompt = [*ids.values(), tokenizer.convert_tokens_to_ids("<|notimestamps|>")]
    texts, tokens, first, watched, logits = [], [], [], [], []
    for index, name in enumerate(names):
        heard = extract(samples(SHARED / "audio" / "commands" / name), sampling_rate=16_000, return_tensors="pt")
        with torch.no_grad():
            said = model.generate(heard.input_features, language="en", task="transcribe", do_sample=False, num_beams=1)
            text = tokenizer.decode(said[0], skip_special_tokens=True).strip()
            texts.append(text)
            if index >= RECORDINGS:
                continue
            following = [token for token in said[0].tolist() if token < min(prompt)]
            out = model(heard.input_features, decoder_input_ids=torch.tensor([prompt + following])).logits[0].numpy()
        out = out[len(prompt) - 1 :]
        spread = np.linspace(0, out.shape[1] - 1, WATCHED).astype(np.int64)
        ids_here = np.stack([np.concatenate([np.argsort(-row)[:WATCHED], spread]) for row in out])
        tokens.append(following)
        first.append(out[0])
        watched.append(ids_here.astype(np.int16))
        logits.append(np.take_along_axis(out, ids_here, axis=1).astype(np.float32))
    np.savez_compressed(
        COMMANDS,
        names=np.array(names),
        texts=np.array(texts),
        prompt=np.array(prompt),
        lengths=np.array([len(following) for following in tokens]),
        tokens=np.concatenate(tokens).astype(np.int16),
        first=np.stack(first),
        watched=np.concatenate(watched),
        logits=np.concatenate(logits),
    )


def samples(path: Path) -> np.ndarray[Any, np.dtype[np.float32]]:
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2), path
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768


if __name__ == "__main__":
    np.savez_compressed(FIXTURE, **small())
    commands()
