"""What moves parameters by itself, and the time it keeps: LFOs, envelopes, sound, the clock."""
