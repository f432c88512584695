"""What processes use of the machine: memory, and files in a folder.

Standard library alone, and little of it, as each trial imports it anew.
"""

from __future__ import annotations

import os
from contextlib import suppress

TYPE_CHECKING = False  # typing takes longer to import than all of this
if TYPE_CHECKING:
    from collections.abc import Iterator

# Files and folders that a program may have at once where they lie on the machine's disk.
MOST_FILES = 4096


def memory_of(processes: list[int], enough: float) -> float:
    """Return the memory of processes in MiB, looked at closely only if it may be over ``enough``.

    Pages that processes share then count once, and shared memory counts whole even if nobody has
    its pages mapped at the moment.
    """
    sizes = [_kilobytes(f"/proc/{pid}/status", (b"VmSize",)) / 1024 for pid in processes]
    if sum(sizes) <= enough:
        return sum(sizes) / 2
    total = sum(map(_resident, processes))
    if total > enough:
        total = sum(map(_proportional, processes))
    shared = {inode: size for pid in processes for inode, size in _shared(pid)}
    return max(total, sum(shared.values()))


def _resident(pid: int) -> float:
    return _kilobytes(f"/proc/{pid}/status", (b"VmRSS", b"VmSwap")) / 1024


def _proportional(pid: int) -> float:
    own = _kilobytes(f"/proc/{pid}/smaps_rollup", (b"Pss", b"SwapPss")) / 1024
    return own or _resident(pid)


def _shared(pid: int) -> Iterator[tuple[bytes, float]]:
    """Yield number and size in MiB of the shared memory that a process has mapped."""
    with suppress(OSError, ValueError), open(f"/proc/{pid}/maps", "rb") as file:
        for line in file:
            if line.endswith(b"(deleted)\n"):
                place, _, _, _, inode, _ = line.split(None, 5)
                first, last = (int(end, 16) for end in place.split(b"-"))
                yield inode, (last - first) / 2**20


def _kilobytes(path: str, names: tuple[bytes, ...]) -> int:
    with suppress(OSError, ValueError), open(path, "rb") as file:
        lines = [line.partition(b":") for line in file]
        return sum(int(rest.split()[0]) for name, _, rest in lines if name in names)
    return 0


def files_in_memory(place: str, processes: list[int]) -> int:
    """Return the number of files in a file system that processes alone see, as from theirs."""
    for pid in processes:
        with suppress(OSError):
            about = os.statvfs(f"/proc/{pid}/root{place}")
            return about.f_files - about.f_ffree
    return 0


def disk_of(folder: str, processes: list[int]) -> float:
    """Return the size in MiB of a folder's files and of deleted ones that are still open."""
    files: dict[int, int] = {}
    folders = [folder]
    while folders:
        with suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    about = entry.stat(follow_symlinks=False)
                    files[about.st_ino] = about.st_blocks
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                if len(files) > MOST_FILES:
                    return float("inf")
    device = os.stat(os.path.dirname(folder)).st_dev
    for pid in processes:
        with suppress(OSError):
            for name in os.listdir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    about = os.stat(f"/proc/{pid}/fd/{name}")
                    if about.st_dev == device and about.st_nlink == 0:
                        files[about.st_ino] = about.st_blocks
    return sum(files.values()) / 2048


def clear(folder: str) -> None:
    """Delete what is in a folder, however deep or unreadable; the folder stays."""
    names, number = [folder], 0
    while names:
        place = names.pop()
        with suppress(OSError):
            os.chmod(place, 0o700)
            for name in os.listdir(place):
                path = f"{place}/{name}"
                if os.path.islink(path) or not os.path.isdir(path):
                    os.unlink(path)
                    continue
                number += 1  # folders move up, so that no path grows long
                target = path if place == folder else f"{folder}/{os.getpid()}-{number}"
                os.chmod(path, 0o700)
                os.rename(path, target)
                names.append(target)
        if place != folder:
            with suppress(OSError):
                os.rmdir(place)
