"""Ceremonies: what key holders sign together, made, checked, put into words and counted. Pure: no I/O and no clock.

A payload is the exact bytes that are signed: the canonical form of root or targets metadata. Server and key holder use
the same code, each on its own: the server builds a payload and refuses what no client could use, the key holder builds
the differences anew from what that person's machine trusts.

Source: trust contract sections 2.3, 2.5 and 2.8; ADR 0033.
"""
