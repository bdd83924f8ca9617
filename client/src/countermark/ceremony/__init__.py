"""Key holders' side of a ceremony: what is shown and signed is worked out here, from what this machine trusts."""
