"""People of a rehearsal: each with keys in a folder of their own, and with a root that they trust."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from securesystemslib.signer import Key

from countermark.ceremony.files import read_document, write_new
from countermark.ceremony.reviewing import Review, RootSource, review, sign
from countermark.core.ceremony.documents import (
    PublicKeyFile,
    SignatureFile,
    SigningEvent,
    parse_event,
    parse_public_key_file,
    parse_signature_file,
    to_bytes,
)
from countermark.core.signing.access import KeyAccess
from countermark.core.signing.making import make_key
from countermark.roots import TrustedRoot, read_root, read_root_file


@dataclass(slots=True)
class Holder:
    """Someone who holds keys.

    Args:
        name: of the person.
        folder: of their machine; what they get and give are files in it.
        is_connected: whether that machine has a network, by which newer roots are found.
    """

    name: str
    folder: Path
    is_connected: bool = True
    _uris: dict[str, list[str]] = field(default_factory=dict)
    _passphrase: str = field(default_factory=lambda: secrets.token_urlsafe(18), repr=False)

    def make_key(self, role: str) -> Key:
        """Make a key for a role, and return what comes out of its public key file.

        Machines without a network keep theirs encrypted.
        """
        self.folder.mkdir(mode=0o700, exist_ok=True)
        path = self.folder / f"{role}-{len(self._uris.get(role, ())) + 1}.pem"
        made = make_key(f"{'file2' if self.is_connected else 'pkcs8'}:{path}", self._access)
        self._uris.setdefault(role, []).append(made.uri)
        public = path.with_suffix(".pub.json")
        write_new(public, to_bytes(PublicKeyFile(self.name, made.key)))
        return read_document(public, parse_public_key_file).key

    def trust(self, root: bytes) -> None:
        """Keep a root file: the first one by word of mouth, each later one because the one before vouches for it.

        Raises:
            MetadataRefused: it does not.
        """
        self.folder.mkdir(mode=0o700, exist_ok=True)
        read_root(root, self._trusted())
        (self.folder / "root.json").write_bytes(root)

    def review(self, event: SigningEvent, now: datetime, roots: RootSource) -> Review:
        """Look at an event on this machine, and refuse what is not right.

        Raises:
            ClientError: as `reviewing.review`.
        """
        file = self.folder / f"{event.id}-{len(event.signatures)}.event.json"
        write_new(file, to_bytes(event))
        return review(read_document(file, parse_event), self._trusted(), now, roots if self.is_connected else None)

    def sign(
        self, event: SigningEvent, role: str, now: datetime, roots: RootSource, *, earlier: bool = False
    ) -> SignatureFile:
        """Review an event and sign it; what comes back is read from a signature file.

        Args:
            event: what to sign.
            role: whose key signs.
            now: aware UTC.
            roots: finds newer roots.
            earlier: whether the key before the newest one signs.

        Raises:
            ClientError: it is not right.
        """
        reviewed = self.review(event, now, roots)
        made = sign(reviewed, self._uris[role][-2 if earlier else -1], self._access, now)
        file = self.folder / f"{event.id}-{made.signatures[0].keyid[:16]}.signature.json"
        write_new(file, to_bytes(made))
        return read_document(file, parse_signature_file)

    @property
    def _access(self) -> KeyAccess:
        return KeyAccess(secret=lambda _: self._passphrase)

    def _trusted(self) -> TrustedRoot | None:
        path = self.folder / "root.json"
        return read_root_file(path) if path.exists() else None
