"""Rights and system calls that neither tests nor programs need, given up for good.

A sandbox forbids most of this already. What it leaves open is closed here, alike in all of them:
memory that belongs to no process (System V segments, memory files), new namespaces, io_uring,
looking into other processes, and what root could still do.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

_PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 4, 22, 24, 38
_FILTER, _CAPABILITIES, _VERSION_3 = 2, 64, 0x20080522
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000
# All CLONE_NEW... flags: time, mount, cgroup, uts, ipc, user, pid, net.
_NAMESPACES = 0x80 | 0x20000 | 0x2000000 | 0x4000000 | 0x8000000 | 0x10000000 | 0x20000000
_NAMESPACES |= 0x40000000
_UNIX = 1  # the one family of sockets that is of use without a network
_SEND_BUFFER = 7
# Numbers of those calls that all machines share, by their first and last.
_EVERYWHERE = {
    "pidfd_send_signal": 424, "io_uring_setup": 425, "io_uring_enter": 426,
    "io_uring_register": 427, "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431,
    "fsmount": 432, "fspick": 433, "pidfd_getfd": 438, "process_madvise": 440,
    "mount_setattr": 442, "memfd_secret": 447,
}  # fmt: skip
_X86_64 = {
    "shmget": 29, "shmat": 30, "shmctl": 31, "semget": 64, "msgget": 68, "ptrace": 101,
    "personality": 135, "pivot_root": 155, "chroot": 161, "acct": 163, "mount": 165, "umount2": 166,
    "swapon": 167, "reboot": 169, "init_module": 175, "quotactl": 179, "mq_open": 240,
    "kexec_load": 246, "add_key": 248, "request_key": 249, "keyctl": 250, "unshare": 272,
    "vmsplice": 278, "move_pages": 279, "perf_event_open": 298, "fanotify_init": 300,
    "name_to_handle_at": 303, "open_by_handle_at": 304, "setns": 308, "process_vm_readv": 310,
    "process_vm_writev": 311, "kcmp": 312, "finit_module": 313, "memfd_create": 319,
    "kexec_file_load": 320, "bpf": 321, "userfaultfd": 323,
}  # fmt: skip
_AARCH64 = {
    "shmget": 194, "shmat": 196, "shmctl": 195, "semget": 190, "msgget": 186, "ptrace": 117,
    "personality": 92, "pivot_root": 41, "chroot": 51, "acct": 89, "mount": 40, "umount2": 39,
    "swapon": 224, "reboot": 142, "init_module": 105, "quotactl": 60, "mq_open": 180,
    "kexec_load": 104, "add_key": 217, "request_key": 218, "keyctl": 219, "unshare": 97,
    "vmsplice": 75, "move_pages": 239, "perf_event_open": 241, "fanotify_init": 262,
    "name_to_handle_at": 264, "open_by_handle_at": 265, "setns": 268, "process_vm_readv": 270,
    "process_vm_writev": 271, "kcmp": 272, "finit_module": 273, "memfd_create": 279,
    "kexec_file_load": 294, "bpf": 280, "userfaultfd": 282,
}  # fmt: skip
# Audit name of the machine, refused calls, and: clone, clone3, prctl, socket, setsockopt.
_MACHINES = {
    "x86_64": (0xC000003E, _X86_64, (56, 435, 157, 41, 54)),
    "aarch64": (0xC00000B7, _AARCH64, (220, 435, 167, 198, 208)),
}


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_char_p)]


def give_up() -> None:
    """Give up capabilities, the way back to them, and the system calls above.

    Raises:
        OSError: If the kernel refuses.
    """
    library = ctypes.CDLL(None, use_errno=True)
    for number in range(_CAPABILITIES):  # fails for those that there are not, or without the right
        library.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)
    _check(library.capset(ctypes.byref(_Header(_VERSION_3, 0)), bytes(24)))
    _check(library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    steps = filter_of(os.uname().machine)
    if steps:
        program = _Program(len(steps) // 8, steps)
        _check(library.prctl(_PR_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0))


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"rights cannot be given up: {os.strerror(number)}")


def filter_of(machine: str) -> bytes:
    """Return the seccomp filter of a machine as classic BPF; empty where none is known."""
    if machine not in _MACHINES:
        return b""
    name, numbers, (clone, clone3, prctl, socket, setsockopt) = _MACHINES[machine]
    refuse = _step(_RETURN, _REFUSE | errno.EPERM)
    steps = [_step(_LOAD, 4), _step(_EQUAL, name, 1, 0), refuse, _step(_LOAD, 0)]
    # Numbers of the x32 interface of the same machine.
    steps += [_step(_AT_LEAST, 0x40000000, 0, 1), refuse]
    for number in (*numbers.values(), *_EVERYWHERE.values()):
        steps += [_step(_EQUAL, number, 0, 1), refuse]
    # Its flags lie in memory, where a filter cannot look; callers fall back to clone.
    steps += [_step(_EQUAL, clone3, 0, 1), _step(_RETURN, _REFUSE | errno.ENOSYS)]
    steps += [_step(_EQUAL, clone, 0, 4), _step(_LOAD, 16), _step(_ANY_BIT, _NAMESPACES, 0, 1)]
    steps += [refuse, _step(_LOAD, 0)]
    steps += [_step(_EQUAL, prctl, 0, 4), _step(_LOAD, 16), _step(_EQUAL, _PR_SET_DUMPABLE, 0, 1)]
    steps += [refuse, _step(_LOAD, 0)]
    steps += [_step(_EQUAL, socket, 0, 4), _step(_LOAD, 16), _step(_EQUAL, _UNIX, 1, 0)]
    steps += [_step(_RETURN, _REFUSE | errno.EAFNOSUPPORT), _step(_LOAD, 0)]
    # A larger buffer is memory of the kernel that no limit bounds.
    steps += [_step(_EQUAL, setsockopt, 0, 3), _step(_LOAD, 32)]
    steps += [_step(_EQUAL, _SEND_BUFFER, 0, 1), refuse]
    return b"".join([*steps, _step(_RETURN, _ALLOW)])


def _step(code: int, value: int, true: int = 0, false: int = 0) -> bytes:
    return struct.pack("HBBI", code, true, false, value)
