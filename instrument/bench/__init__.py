"""The measurements that `bender bench` prints."""
