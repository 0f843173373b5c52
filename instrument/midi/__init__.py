"""MIDI: ports that come and go, bytes to touches."""
