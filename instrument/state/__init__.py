"""What is kept: patches, snapshots and the ways between them, undo."""
