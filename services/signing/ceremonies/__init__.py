"""The shared files of trust: their first making, the signing events that replace them, and the rotation of keys."""
