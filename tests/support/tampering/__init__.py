"""A registry's network, mirrors, store and stolen keys in the hands of an attacker, and the table of attacks.

- `server` stands in front of a real deployment, or of a tree that one published, and tampers by path.
- `answers` are what it sends in the place of what is there.
- `forger` signs over the published state with keys of the deployment, or with foreign ones.
- `victim` is the real client, with a home of its own.
- `table` holds the attacks by row; `python -m tests.support.tampering` runs them and prints what the client said.

Source: trust contract section 6.
"""
