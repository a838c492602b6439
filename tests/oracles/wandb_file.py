"""Reads a file of Weights & Biases without its own code: LevelDB's log format, written down from its specification."""

import struct
from collections.abc import Iterator


def leveldb_log(content: bytes) -> Iterator[bytes]:
    """The entries of a LevelDB log: blocks of 32 KiB whose pieces are full (1), first (2), middle (3) or last (4)."""
    header, block, at, whole = 7, 32768, 0, b""
    while at + header <= len(content):
        # The file's own 7-byte header counts as part of the first block.
        room = block - (at + 7) % block
        if room < header:
            at += room
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + header])
        whole += content[at + header : at + header + length]
        at += header + length
        if kind in (1, 4):
            yield whole
            whole = b""
