"""Builds wheels and source archives in memory, valid ones and hostile ones. Deterministic and fast.

`make_wheel` and `make_sdist` give what a build tool would; `raw_zip` and `raw_tar_gz` write every field as told.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import random
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from packaging.utils import canonicalize_name

_EPOCH = (2020, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Project:
    """What core metadata say; `lines` are further header lines, verbatim."""

    name: str
    version: str
    metadata_version: str = "2.1"
    requires_python: str | None = None
    requires_dist: Sequence[str] = ()
    summary: str | None = None
    lines: Sequence[str] = ()
    description: str = ""

    def to_bytes(self) -> bytes:
        """Return METADATA or PKG-INFO."""
        headers = [f"Metadata-Version: {self.metadata_version}", f"Name: {self.name}", f"Version: {self.version}"]
        if self.summary is not None:
            headers.append(f"Summary: {self.summary}")
        if self.requires_python is not None:
            headers.append(f"Requires-Python: {self.requires_python}")
        headers += [f"Requires-Dist: {requirement}" for requirement in self.requires_dist]
        return "\n".join([*headers, *self.lines, "", self.description]).encode()


def payload(length: int, seed: int = 1) -> bytes:
    """Return bytes that do not compress, the same ones for the same arguments."""
    source = random.Random(seed)
    return b"".join(source.randbytes(min(length - start, 1 << 20)) for start in range(0, length, 1 << 20))


def escaped(name: str) -> str:
    """Return a project's name as file names write it."""
    return canonicalize_name(name).replace("-", "_")


def wheel_name(name: str, version: str, tag: str = "py3-none-any") -> str:
    """Return the file name of a wheel."""
    return f"{escaped(name)}-{version}-{tag}.whl"


def sdist_name(name: str, version: str) -> str:
    """Return the file name of a source archive."""
    return f"{escaped(name)}-{version}.tar.gz"


def record_line(path: str, data: bytes) -> str:
    """Return one line of RECORD."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
    quoted = f'"{path}"' if "," in path else path
    return f"{quoted},sha256={digest},{len(data)}"


def wheel_members(
    name: str,
    version: str,
    *,
    project: Project | None = None,
    extra_members: Mapping[str, bytes] | None = None,
    tag: str = "py3-none-any",
    payload_bytes: int = 0,
) -> dict[str, bytes]:
    """Return the members of a wheel without its RECORD: path -> bytes."""
    stem = f"{escaped(name)}-{version}"
    project = project or Project(name, version)
    wheel = f"Wheel-Version: 1.0\nGenerator: countermark-tests\nRoot-Is-Purelib: true\nTag: {tag}\n"
    members = {f"{escaped(name)}/__init__.py": f'__version__ = "{version}"\n'.encode()}
    if payload_bytes:
        members[f"{escaped(name)}/payload.bin"] = payload(payload_bytes)
    members |= extra_members or {}
    members[f"{stem}.dist-info/WHEEL"] = wheel.encode()
    members[f"{stem}.dist-info/METADATA"] = project.to_bytes()
    return members


def make_wheel(
    name: str,
    version: str,
    *,
    requires_python: str | None = None,
    requires_dist: Sequence[str] = (),
    extra_members: Mapping[str, bytes] | None = None,
    payload_bytes: int = 0,
    project: Project | None = None,
    tag: str = "py3-none-any",
) -> bytes:
    """Return a valid wheel with a complete RECORD.

    Args:
        payload_bytes: bytes of an incompressible member, to make it large.
        project: its core metadata, instead of the arguments before.
    """
    project = project or Project(name, version, requires_python=requires_python, requires_dist=requires_dist)
    members = wheel_members(
        name, version, project=project, extra_members=extra_members, tag=tag, payload_bytes=payload_bytes
    )
    return zip_of(with_record(name, version, members), stored=payload_bytes > 0)


def with_record(name: str, version: str, members: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return members with a RECORD that is true of them."""
    path = f"{escaped(name)}-{version}.dist-info/RECORD"
    lines = [record_line(member, data) for member, data in members.items() if not member.endswith("/")]
    return {**members, path: "\n".join([*lines, f"{path},,", ""]).encode()}


def zip_of(members: Mapping[str, bytes], *, stored: bool = False) -> bytes:
    """Return a zip as Python's own library writes it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, data in members.items():
            info = zipfile.ZipInfo(path, _EPOCH)
            info.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)
    return buffer.getvalue()


def make_sdist(
    name: str,
    version: str,
    *,
    requires_python: str | None = None,
    requires_dist: Sequence[str] = (),
    extra_members: Mapping[str, bytes] | None = None,
    payload_bytes: int = 0,
    project: Project | None = None,
) -> bytes:
    """Return a valid source archive; arguments as for `make_wheel`, paths of `extra_members` below its top folder."""
    project = project or Project(name, version, requires_python=requires_python, requires_dist=requires_dist)
    members = {
        "PKG-INFO": project.to_bytes(),
        "pyproject.toml": f'[project]\nname = "{name}"\nversion = "{version}"\n'.encode(),
        f"src/{escaped(name)}/__init__.py": b"",
        **(extra_members or {}),
    }
    if payload_bytes:
        members["payload.bin"] = payload(payload_bytes)
    top = f"{escaped(name)}-{version}"
    return raw_tar_gz([TarEntry(top, kind=tarfile.DIRTYPE), *(TarEntry(f"{top}/{p}", d) for p, d in members.items())])


@dataclass(frozen=True)
class TarEntry:
    """One member of a tar; `pax` are records of its extended header."""

    path: str
    data: bytes = b""
    kind: bytes = tarfile.REGTYPE
    link: str = ""
    pax: Mapping[str, str] = field(default_factory=dict)


def raw_tar(entries: Sequence[TarEntry], *, tar_format: int = tarfile.PAX_FORMAT) -> bytes:
    """Return a tar as Python's own library writes it, without checks of the names."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as archive:
        for entry in entries:
            info = tarfile.TarInfo(entry.path)
            info.type = entry.kind
            info.linkname = entry.link
            info.pax_headers = dict(entry.pax)
            info.mode = 0o755 if entry.kind == tarfile.DIRTYPE else 0o644
            info.size = len(entry.data)
            archive.addfile(info, io.BytesIO(entry.data))
    return buffer.getvalue()


def raw_tar_gz(entries: Sequence[TarEntry], *, tar_format: int = tarfile.PAX_FORMAT, level: int = 1) -> bytes:
    """Return a gzip-compressed tar."""
    return gzip.compress(raw_tar(entries, tar_format=tar_format), compresslevel=level, mtime=0)


def tar_block(name: bytes, length: int = 0, kind: bytes = b"0", *, magic: bytes = b"ustar\x0000") -> bytes:
    """Return one tar header with a right checksum."""
    block = bytearray(512)
    block[: len(name)] = name
    block[100:108] = b"0000644\0"
    block[124:136] = b"%011o\0" % length
    block[156:157] = kind
    block[257:265] = magic
    return sealed(block)


def sealed(block: bytearray) -> bytes:
    """Return a tar header with its checksum filled in."""
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@dataclass(frozen=True)
class ZipHeader:
    """The fields of a local or a central header that hostile files change."""

    name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    length: int
    extra: bytes = b""
    needed: int = 20


@dataclass(frozen=True)
class ZipEntry:
    """One member of a zip as two headers and its data; `central` None leaves it out of the central directory."""

    local: ZipHeader
    central: ZipHeader | None
    data: bytes
    comment: bytes = b""
    mode: int = 0o100644
    copies: int = 1

    def both(self, **changes: object) -> ZipEntry:
        """Return the entry with both headers changed alike."""
        central = None if self.central is None else replace(self.central, **changes)  # type: ignore[arg-type]
        return replace(self, local=replace(self.local, **changes), central=central)  # type: ignore[arg-type]


def zip_entry(name: str | bytes, data: bytes = b"", *, deflate: bool = False) -> ZipEntry:
    """Return a well-formed entry."""
    raw = name.encode() if isinstance(name, str) else name
    packed = data
    if deflate:
        deflater = zlib.compressobj(6, zlib.DEFLATED, -15)
        packed = deflater.compress(data) + deflater.flush()
    flags = 0 if raw.isascii() else 0x0800
    header = ZipHeader(raw, flags, 8 if deflate else 0, zlib.crc32(data), len(packed), len(data))
    return ZipEntry(header, header, packed)


@dataclass(frozen=True)
class ZipEnd:
    """The end of a zip; None stands for the true value."""

    records: int | None = None
    length: int | None = None
    offset: int | None = None
    comment: bytes = b""
    trailing: bytes = b""
    before: bytes = b""
    zip64: bool = False
    zip64_offset: int | None = None


def raw_zip(entries: Sequence[ZipEntry], end: ZipEnd | None = None) -> bytes:
    """Return a zip with its records written as told."""
    end = end or ZipEnd()
    body = bytearray()
    directory = bytearray()
    records = 0
    for entry in entries:
        offset = len(body)
        local = entry.local
        body += struct.pack(
            "<4sHHHHHLLLHH",
            b"PK\x03\x04",
            *(local.needed, local.flags, local.method, 0, 0x21, local.crc, local.packed, local.length),
            *(len(local.name), len(local.extra)),
        )
        body += local.name + local.extra + entry.data
        if entry.central is not None:
            directory += _central(entry, entry.central, offset) * entry.copies
            records += entry.copies
    start = len(body)
    body += directory + end.before
    told = [_or(end.records, records), _or(end.length, len(directory)), _or(end.offset, start)]
    if end.zip64:
        at = _or(end.zip64_offset, len(body))
        body += struct.pack("<4sQHHLLQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, told[0], *told)
        body += struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1)
        told = [0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF]
    body += struct.pack("<4sHHHHLLH", b"PK\x05\x06", 0, 0, told[0], *told, len(end.comment))
    return bytes(body) + end.comment + end.trailing


def _central(entry: ZipEntry, header: ZipHeader, offset: int) -> bytes:
    fixed = struct.pack(
        "<4sHHHHHHLLLHHHHHLL",
        b"PK\x01\x02",
        *(0x0314, header.needed, header.flags, header.method, 0, 0x21, header.crc, header.packed, header.length),
        *(len(header.name), len(header.extra), len(entry.comment), 0, 0, entry.mode << 16, offset),
    )
    return fixed + header.name + header.extra + entry.comment


def _or(value: int | None, true: int) -> int:
    return true if value is None else value


def zip_bomb(path: str, megabytes: int) -> bytes:
    """Return a zip whose one member unpacks to zeros; its checksum is left out."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = deflater.compress(bytes(1 << 20)) + deflater.flush(zlib.Z_FULL_FLUSH)
    # Blocks that end flushed stand alone; the last is an empty one.
    data = block * megabytes + b"\x03\x00"
    header = ZipHeader(path.encode(), 0, 8, 0, len(data), megabytes << 20)
    return raw_zip([ZipEntry(header, header, data)])


def overlapping_zip(copies: int, data: bytes = b"x" * 1000) -> bytes:
    """Return a zip in which many names of the directory share one member's bytes: it unpacks to a multiple of them."""
    shared = zip_entry("shared", data)
    assert shared.central is not None
    body = bytearray(raw_zip([shared])[: 30 + len("shared") + len(data)])
    start = len(body)
    for number in range(copies):
        body += _central(shared, replace(shared.central, name=b"%06d" % number), 0)
    body += struct.pack("<4sHHHHLLH", b"PK\x05\x06", 0, 0, copies, copies, len(body) - start, start, 0)
    return bytes(body)


def streamed_zip(members: Mapping[str, bytes]) -> bytes:
    """Return a zip as it is written to a pipe: sizes and checksums follow the data."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.written = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            self.written += bytes(data)  # type: ignore[call-overload]
            return len(bytes(data))  # type: ignore[call-overload]

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in members.items():
            archive.writestr(zipfile.ZipInfo(path, _EPOCH), data)
    return bytes(pipe.written)
