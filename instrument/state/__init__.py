"""What is kept: patches, snapshots and the ways between them, undo."""

AUTOSAVE_EVERY = 30.0  # seconds, unless told otherwise
