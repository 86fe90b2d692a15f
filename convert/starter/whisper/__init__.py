"""starter-whisper: a small Whisper for spoken device commands, trained from nothing on synthetic speech."""
