"""Private keys by URI: files, variables, PKCS#11 tokens, key services. Nothing else sees a private key.

Every key is a securesystemslib `Signer`; what it signs is verified with its public key before anybody gets it. Import
from the modules: this one stays empty, so that whoever needs a name of them does not load every library of keys.
Source: trust contract section 2.4.
"""
