"""Speech: the microphone, voice activity, the policy of live transcription, and audio files. `docs/speech.md`."""
