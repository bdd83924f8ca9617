"""What a process may use to reach private keys, and where it gets PINs and passphrases from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from countermark.core.signing.faults import KeyUnusable

MODULE_VARIABLE = "PYKCS11LIB"
"""Variable with the path of the PKCS#11 library, as securesystemslib names it."""

_SECRET_LIMIT = 64 << 10
"""Bytes of a file that holds a secret."""

_FROM_FILE = "file:"
_SHORTEST_KEYID = 8
"""Characters of a key id by which a passphrase may be named."""


class SecretKind(StrEnum):
    """What a secret opens."""

    PIN = "PIN"
    PASSPHRASE = "passphrase"  # noqa: S105 - the word


@dataclass(frozen=True, slots=True)
class Wanted:
    """A secret that is needed.

    Attributes:
        kind: what it opens.
        name: label of the token, or key id.
        is_new: whether it is chosen now: a person is asked twice.
    """

    kind: SecretKind
    name: str
    is_new: bool = False

    def __str__(self) -> str:
        return f"the {self.kind} of {'token' if self.kind is SecretKind.PIN else 'key'} {self.name}"


SecretSource = Callable[[Wanted], str]
"""Returns a secret, or raises `KeyUnusable` where it has none. It is asked each time, and nothing keeps the answer."""


def no_secrets(wanted: Wanted) -> str:
    """Have none.

    Raises:
        KeyUnusable: always.
    """
    raise KeyUnusable(f"{wanted} is not at hand", "Say where it comes from.")


def asked_once(ask: SecretSource) -> SecretSource:
    """Return a source that asks once, whatever the one key is called: by its place at first, then by its id."""
    told: list[str] = []

    def answer(wanted: Wanted) -> str:
        if not told:
            told.append(ask(wanted))
        return told[0]

    return answer


@dataclass(frozen=True, slots=True)
class KeyAccess:
    """The means to reach private keys.

    Attributes:
        folder: where relative paths of `file2:` and `pkcs8:` lie.
        secret: where PINs and passphrases come from.
        environ: variables for `env:`, and for what key services are configured by.
        module: path of the PKCS#11 library; else the one that `environ` names.
        after_wrong_pin: whether a token is tried that says a wrong PIN was given since the last login. A person who
            types may; a process that is started again and again may not: it would lock the token.
    """

    folder: Path = field(default_factory=Path)
    secret: SecretSource = no_secrets
    environ: Mapping[str, str] = field(default_factory=dict)
    module: str | None = None
    after_wrong_pin: bool = False

    @property
    def module_path(self) -> str:
        """Path of the PKCS#11 library.

        Raises:
            KeyUnusable: none is named.
        """
        path = self.module or self.environ.get(MODULE_VARIABLE)
        if not path:
            remedy = (
                f"Set signing.pkcs11_module, {MODULE_VARIABLE} or --module to the library that the token's maker says."
            )
            raise KeyUnusable("no PKCS#11 library is named", remedy)
        return path


class ConfiguredSecrets:
    """Secrets by name: `token:<label>` for a PIN, `key:<key id, or how it begins>` for a passphrase.

    A value `file:<path>` stands for what is in that file, which is read each time.

    Args:
        values: name -> secret.
        setting: what the mapping is called, for messages.
    """

    def __init__(self, values: Mapping[str, str], setting: str) -> None:
        self._values = dict(values)
        self._setting = setting

    def __call__(self, wanted: Wanted) -> str:
        """Return a secret; see `SecretSource`."""
        name = self._name_of(wanted)
        value = self._values[name]
        return read_secret(Path(value.removeprefix(_FROM_FILE))) if value.startswith(_FROM_FILE) else value

    def _name_of(self, wanted: Wanted) -> str:
        if wanted.kind is SecretKind.PIN:
            named, example = [name for name in self._values if name == f"token:{wanted.name}"], f"token:{wanted.name}"
        else:
            named = [name for name in self._values if _is_of(name, wanted.name)]
            example = f"key:{wanted.name[:16]}"
        if len(named) != 1:
            what = "is not configured" if not named else "is configured twice"
            raise KeyUnusable(f"{wanted} {what}", f'Give it once in {self._setting}, as "{example}".')
        return named[0]


def _is_of(name: str, keyid: str) -> bool:
    prefix = name.removeprefix("key:")
    return prefix != name and len(prefix) >= _SHORTEST_KEYID and keyid.startswith(prefix)


def read_secret(path: Path) -> str:
    """Return the secret in a file; the line ends that editors add are no part of it.

    Raises:
        KeyUnusable: it cannot be read, or holds no secret.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_SECRET_LIMIT + 1)
        secret = content.decode("utf-8").rstrip("\r\n")
    except OSError as error:
        raise KeyUnusable(f"the secret in {path} cannot be read: {error.strerror}", "Make it readable.") from error
    except UnicodeDecodeError:
        secret = ""
    if not secret or len(content) > _SECRET_LIMIT:
        raise KeyUnusable(f"{path} holds no secret", f"It is one line of text of at most {_SECRET_LIMIT} bytes.")
    return secret
