"""Tests of what makes attestations."""
