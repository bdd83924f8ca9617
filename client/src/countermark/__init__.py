"""Countermark's client: build, upload, download and prove the files of a registry.

`countermark.core` is pure and all that the server imports. The command line is `countermark.cli`; its parts are usable
from Python: `countermark.verification.Verifier`, `countermark.publish.Uploader`, `countermark.roots`.
"""
