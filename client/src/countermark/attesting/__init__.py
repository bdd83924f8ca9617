"""Making attestations: what is known of a build, statements, signatures, and what they are checked against."""
