"""What Linux offers to shut a process in: namespaces, Landlock, seccomp, resource limits. Used by the box and `doctor`.

Each function says whether it took effect; nothing here raises for a kernel that lacks a feature. Only ctypes: there is
no library for Landlock that is kept alive, and those for seccomp need a system library that may not be there.
"""

import ctypes
import errno
import os
import platform
import resource
import struct

_libc = ctypes.CDLL(None, use_errno=True)

# linux/prctl.h, linux/sched.h
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 1, 4, 38, 22, 2
CLONE_NEWUSER, CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWUTS = 0x10000000, 0x40000000, 0x08000000, 0x04000000

# linux/landlock.h; the three system calls have the same numbers on every architecture
LANDLOCK_CREATE_RULESET, LANDLOCK_RESTRICT_SELF = 444, 446
LANDLOCK_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
LANDLOCK_READING = 0b1100  # of files and of folders
LANDLOCK_NET_RIGHTS = 0b11  # bind and connect TCP, from version 4

# Allowed system calls by name: (x86_64, aarch64). Sources: arch/x86/entry/syscalls/syscall_64.tbl and
# include/uapi/asm-generic/unistd.h. What is missing cannot be done: no open, socket, exec, fork, kill, ptrace.
ALWAYS = {
    "read": (0, 63), "close": (3, 57), "lseek": (8, 62), "munmap": (11, 215), "brk": (12, 214),
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "mremap": (25, 216), "madvise": (28, 233), "getpid": (39, 172), "recvfrom": (45, 207), "exit": (60, 93),
    "sigaltstack": (131, 132), "gettid": (186, 178), "futex": (202, 98), "clock_gettime": (228, 113),
    "exit_group": (231, 94), "getrandom": (318, 278), "restart_syscall": (219, 128), "sched_yield": (24, 124),
    "clock_nanosleep": (230, 115),
}  # fmt: skip
ONLY_OWN_DESCRIPTOR = {"write": (1, 64), "sendto": (44, 206)}  # allowed when the first argument is the one socket
ONLY_DATA = {"mmap": (9, 222), "mprotect": (10, 226)}  # allowed when the third argument lacks PROT_EXEC
PROT_EXEC = 4
ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}  # AUDIT_ARCH_*, column above
X32_BIT = 0x40000000


def die_with_parent(signal_number: int) -> None:
    """Ask the kernel to send us a signal when our parent dies (prctl(2), PR_SET_PDEATHSIG)."""
    _libc.prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0)


def leave_namespaces() -> bool:
    """Move into new user, network, IPC and UTS namespaces: no network, no capability outside. One thread only."""
    return bool(_libc.unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) == 0)


def mapped_bytes() -> int:
    """How much address space this process has mapped."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def limit_resources(*, memory: int, cpu_seconds: int) -> bool:
    """Address space in bytes, CPU seconds, and no new file, core or process."""
    for what, limit in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 0),
    ):
        resource.setrlimit(what, (limit, limit))
    return True


def forbid_new_privileges() -> bool:
    return bool(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)


def landlock_version() -> int:
    """The Landlock ABI of this kernel, 0 where there is none."""
    return max(0, int(_libc.syscall(LANDLOCK_CREATE_RULESET, None, 0, 1)))


def deny_files(*, reading: bool = True) -> bool:
    """Landlock: an empty rule set that handles every right it knows, so that no path can be opened, made or run;
    without `reading` files may still be read."""
    version = landlock_version()
    if not version:
        return False
    files = LANDLOCK_FILE_RIGHTS.get(version, LANDLOCK_FILE_RIGHTS[5])
    files &= ~(0 if reading else LANDLOCK_READING)
    rights = struct.pack("=QQ", files, LANDLOCK_NET_RIGHTS) if version >= 4 else struct.pack("=Q", files)
    ruleset = _libc.syscall(LANDLOCK_CREATE_RULESET, rights, len(rights), 0)
    if ruleset < 0:
        return False
    try:
        return bool(_libc.syscall(LANDLOCK_RESTRICT_SELF, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def filter_syscalls(own_descriptor: int) -> bool:
    """seccomp: allow what a decoder needs, writing to `own_descriptor` only; everything else fails with EPERM."""
    known = ARCHITECTURES.get(platform.machine())
    if known is None:
        return False
    audit, column = known
    tables = [[number[column] for number in table.values()] for table in (ALWAYS, ONLY_OWN_DESCRIPTOR, ONLY_DATA)]
    program = assemble_filter(audit, tables, own_descriptor)
    code = ctypes.create_string_buffer(b"".join(program))
    header = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    return bool(_libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.create_string_buffer(header), 0, 0) == 0)


def assemble_filter(audit: int, tables: list[list[int]], descriptor: int) -> list[bytes]:
    """The classic BPF program (linux/filter.h, linux/seccomp.h): one 8-byte instruction an item. `tables`: the numbers
    of the three tables above."""
    always, own, data = tables
    load, equal, at_least, any_bit, give = 0x20, 0x15, 0x35, 0x45, 0x06
    allow, refuse, kill = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x80000000

    def step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("=HBBI", code, yes, no, value)

    program = [
        step(load, 4),  # seccomp_data.arch
        step(equal, audit, yes=1),
        step(give, kill),
        step(load, 0),  # seccomp_data.nr
        step(at_least, X32_BIT, no=1),
        step(give, kill),
    ]
    for number in always:
        program += [step(equal, number, no=1), step(give, allow)]
    for number in own:
        program += [
            step(equal, number, no=4),
            step(load, 16),  # low half of the first argument
            step(equal, descriptor, no=1),
            step(give, allow),
            step(give, refuse),
        ]
    for number in data:
        program += [
            step(equal, number, no=4),
            step(load, 32),  # low half of the third argument
            step(any_bit, PROT_EXEC, yes=1),
            step(give, allow),
            step(give, refuse),
        ]
    return [*program, step(give, refuse)]
