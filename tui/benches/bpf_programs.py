"""The BPF programs that a process holds: their names, and their run time as the kernel counts it while that is switched on."""

import ctypes
import os
import platform
from pathlib import Path

SWITCH = Path("/proc/sys/kernel/bpf_stats_enabled")
SYSCALL = {"x86_64": 321, "aarch64": 280}
KPROBE, PERF_EVENT, RAW_TRACEPOINT = 2, 7, 17  # enum bpf_prog_type, include/uapi/linux/bpf.h; a uprobe is a KPROBE
GET_FD_BY_ID, OBJ_GET_INFO_BY_FD = 13, 15  # enum bpf_cmd, include/uapi/linux/bpf.h
INFO_BYTES, NAME_AT, NAME_BYTES = 80, 64, 16  # struct bpf_prog_info up to the end of `name`
LIBC = ctypes.CDLL(None, use_errno=True)


class Counted:
    """The kernel counts run times meanwhile. Use it in a `with`: the setting is put back at its end."""

    def __enter__(self):
        self.before = SWITCH.read_text()
        SWITCH.write_text("1")
        return self

    def __exit__(self, *_):
        SWITCH.write_text(self.before)


def descriptors(pid):
    """Fields of all descriptors of a process that are BPF's (bpf_prog_show_fdinfo, bpf_map_show_fdinfo)."""
    for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
        try:
            yield dict(line.split(":", 1) for line in entry.read_text().splitlines() if ":" in line)
        except OSError:
            continue


def run_times(pid, kind=None):
    """Run time in ns and runs of each program that the process holds, or of those of one kind, by id."""
    found = {}
    for fields in descriptors(pid):
        if "run_cnt" in fields and kind in (None, int(fields["prog_type"])):
            found[int(fields["prog_id"])] = int(fields["run_time_ns"]), int(fields["run_cnt"])
    return found


def bpf(command, attributes):
    result = LIBC.syscall(SYSCALL[platform.machine()], command, attributes, len(attributes))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def name(program):
    """What the program of that id is called: the first 15 bytes of it."""
    descriptor = bpf(GET_FD_BY_ID, program.to_bytes(4, "little") + bytes(8))
    try:
        info = ctypes.create_string_buffer(INFO_BYTES)
        address = ctypes.addressof(info).to_bytes(8, "little")
        bpf(OBJ_GET_INFO_BY_FD, descriptor.to_bytes(4, "little") + INFO_BYTES.to_bytes(4, "little") + address)
        return info.raw[NAME_AT : NAME_AT + NAME_BYTES].rstrip(b"\0").decode()
    finally:
        os.close(descriptor)
