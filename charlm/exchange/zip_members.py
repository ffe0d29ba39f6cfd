"""The members of an uploaded zip: looked over as a whole before one is unpacked, and counted while it is."""

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from charlm.bounded_json import one_line
from charlm.errors import CheckpointError
from charlm.files import open_plain

MOST_MEMBERS = 500
MOST_DIRECTORY = 1 << 20
BLOCK = 1 << 16
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED = 0x1 | 0x40 | 0x2000  # bits of a member's flags
# The end of a zip without a comment, the beginning of a member, and what points to a zip64's end.
END, LOCAL, LOCATOR = struct.Struct("<4s4H2LH"), struct.Struct("<4s5H3L2H"), b"PK\x06\x07"
LOCATOR_SIZE = 20


class ZipMembers:
    """The files in a zip, by name.

    Nothing of what the zip says of sizes is believed: members may not overlap, lie outside, occur twice, be links,
    devices or encrypted, or have names that lead anywhere.

    Args:
        path: the zip.
        most_bytes: that all members may unpack to.

    Raises:
        CheckpointError: it is no such zip.
    """

    def __init__(self, path: Path, most_bytes: int) -> None:
        self.path, self.most_bytes = path, most_bytes
        self.unpacked = 0
        try:
            _check_end(path)
            self._archive = zipfile.ZipFile(path)
        except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile, struct.error) as error:
            raise self._refusal(
                f"is no zip that can be read ({_brief(error)}); take one that this program wrote"
            ) from error
        self._infos: dict[str, zipfile.ZipInfo] = {}
        try:
            for info in self._archive.infolist():
                self._admit(info)
            self._check_places()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._archive.close()

    @property
    def names(self) -> list[str]:
        """All files."""
        return list(self._infos)

    def size(self, name: str) -> int:
        """Bytes that a member is said to unpack to."""
        return self._infos[name].file_size

    def blocks(self, name: str, most: int) -> Iterator[bytes]:
        """A member, unpacked block by block and counted.

        Args:
            name: of `names`.
            most: bytes that this one may have.

        Raises:
            CheckpointError: it is longer, damaged, or all that was unpacked is more than the zip may hold.
        """
        try:
            with self._archive.open(self._infos[name]) as member:
                yield from self._counted(member, name, most)
        except (
            OSError,
            EOFError,
            ValueError,
            NotImplementedError,
            RuntimeError,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            raise self._refusal(f"is damaged: {name} cannot be unpacked ({_brief(error)})") from error

    def read(self, name: str, most: int) -> bytes:
        """A member in one piece; see `blocks`."""
        return b"".join(self.blocks(name, most))

    def _counted(self, member: IO[bytes], name: str, most: int) -> Iterator[bytes]:
        size = 0
        while block := member.read(BLOCK):
            size, self.unpacked = size + len(block), self.unpacked + len(block)
            if size > most:
                raise self._refusal(f"holds a {name} of more than {most:,} bytes, which is more than it needs")
            if self.unpacked > self.most_bytes:
                raise self._refusal(f"unpacks to more than {self.most_bytes:,} bytes; take a smaller run")
            yield block

    def _admit(self, info: zipfile.ZipInfo) -> None:
        """Take a member's name, or refuse the zip for it."""
        name, kind = info.orig_filename, stat.S_IFMT(info.external_attr >> 16)
        shown = repr(name[:60])
        if name != info.filename or not _is_plain(name.removesuffix("/")):
            raise self._refusal(f"holds {shown}, a name that may lead elsewhere")
        if kind not in (0, stat.S_IFDIR if name.endswith("/") else stat.S_IFREG):
            raise self._refusal(f"holds {shown}, which is a link or a device; only plain files are taken")
        if info.flag_bits & ENCRYPTED:
            raise self._refusal(f"is encrypted ({shown}); pack it without a password")
        if info.compress_type not in METHODS:
            raise self._refusal(f"is packed in a way that is not read here ({shown}); pack it with the usual deflate")
        if name in self._infos:
            raise self._refusal(f"holds {shown} twice")
        if info.header_offset + info.compress_size > self._archive.start_dir:
            raise self._refusal(f"does not hold {shown} whole")
        self._infos[name] = info

    def _check_places(self) -> None:
        """Members lie one after the other, none in another; then folders are forgotten."""
        if sum(info.file_size for info in self._infos.values()) > self.most_bytes:
            raise self._refusal(f"unpacks to more than {self.most_bytes:,} bytes; take a smaller run")
        at = 0
        with open_plain(self.path) as file:
            for info in sorted(self._infos.values(), key=lambda info: info.header_offset):
                file.seek(info.header_offset)
                head = file.read(LOCAL.size)
                if info.header_offset < at or len(head) < LOCAL.size:
                    raise self._refusal("holds members that lie in each other")
                at = info.header_offset + LOCAL.size + sum(LOCAL.unpack(head)[-2:]) + info.compress_size
        if at > self._archive.start_dir:
            raise self._refusal("holds members that lie in each other")
        self._infos = {name: info for name, info in self._infos.items() if not name.endswith("/")}

    def _refusal(self, reason: str) -> CheckpointError:
        return CheckpointError(f"{one_line(self.path.name, 80)} {reason}")


def _is_plain(name: str) -> bool:
    """Whether a name is a relative path of plain parts, on every system."""
    if not name or len(name) > 200 or not name.isprintable() or any(char in name for char in '\\:*?"<>|'):
        return False
    return all(part not in ("", ".", "..") for part in name.split("/"))


def _check_end(path: Path) -> None:
    """Refuse what is more than a zip, or has a list of members that would fill the memory.

    Raises:
        ValueError: in a few words.
    """
    size = path.stat().st_size
    with open_plain(path) as file:
        file.seek(max(0, size - END.size - LOCATOR_SIZE))
        tail = file.read()
    if size < END.size:
        raise ValueError("it is too short")
    mark, *disks, total, directory, offset, comment = END.unpack(tail[-END.size :])
    if mark != b"PK\x05\x06" or comment or tail.startswith(LOCATOR):
        raise ValueError("its end is not that of a plain zip")
    if disks[:2] != [0, 0] or disks[2] != total or offset + directory + END.size != size:
        raise ValueError("its list of members is not where it should be")
    if total > MOST_MEMBERS or directory > MOST_DIRECTORY:
        raise ValueError(f"it lists {total:,} members")


def _brief(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
