"""Addresses on which this process and its children accept connections, from Linux's tables in /proc."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path

LISTEN = "0A"
"""State of a socket that accepts connections, in the tables."""


def descendants(pid: int) -> set[int]:
    """Return a process and all processes that it or its children started."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found, more = set[int](), {pid}
    while more:
        found |= more
        more = {child for child, parent in parents.items() if parent in more} - found
    return found


def address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return an address from a table: words of 32 bits, each in the order of the machine (little-endian)."""
    words = [bytes.fromhex(text[start : start + 8])[::-1] for start in range(0, len(text), 8)]
    found = ipaddress.ip_address(b"".join(words))
    return getattr(found, "ipv4_mapped", None) or found


def listening() -> set[str]:
    """Return the addresses of this process and its children, without ports."""
    inodes = set()
    for pid in descendants(os.getpid()):
        for path in Path(f"/proc/{pid}/fd").glob("*") if os.path.isdir(f"/proc/{pid}/fd") else ():
            try:
                inodes.add(os.readlink(path))
            except OSError:
                continue
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    return {str(address(line[1].partition(":")[0])) for line in lines if line[3] == LISTEN and f"socket:[{line[9]}]" in inodes}
