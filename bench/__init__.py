"""Measures speed and memory beside devpi-server and nginx, in one run: `make bench`."""
