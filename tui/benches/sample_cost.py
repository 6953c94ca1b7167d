"""Run time in the kernel, as the kernel itself counts it, of a sample and of a switch of threads; size of all maps."""

import os
import signal
import subprocess
import time
from pathlib import Path

from terminal import Terminal

SWITCH = Path("/proc/sys/kernel/bpf_stats_enabled")
SCRIPTS = Path(__file__).parent.parent / "tests/php/scripts"
PERF_EVENT, RAW_TRACEPOINT = "7", "17"  # BPF_PROG_TYPE_PERF_EVENT and _RAW_TRACEPOINT, include/uapi/linux/bpf.h
DEPTH = 16


def entries(pid):
    """Fields of all descriptors of a process that are BPF's (bpf_prog_show_fdinfo, bpf_map_show_fdinfo)."""
    for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
        try:
            yield dict(line.split(":", 1) for line in entry.read_text().splitlines() if ":" in line)
        except OSError:
            continue


def programs(pid, kind):
    """Run time in ns and runs of each program of a kind that the process holds, by id."""
    found = {}
    for fields in entries(pid):
        if fields.get("prog_type", "").strip() == kind and "run_cnt" in fields:
            found[fields["prog_id"].strip()] = int(fields["run_time_ns"]), int(fields["run_cnt"])
    return found


def map_bytes(pid):
    """Memory of all maps that the process holds, and their number."""
    maps = {fields["map_id"].strip(): int(fields["memlock"]) for fields in entries(pid) if "map_id" in fields}
    return sum(maps.values()), len(maps)


def script(cpu, name):
    """A script of that many frames on one CPU."""
    command = ["setpriv", "--pdeathsig", "KILL", "--", "php", "-n", str(SCRIPTS / name), str(DEPTH)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    os.sched_setaffinity(process.pid, {cpu})
    return process


def difference(before, after):
    """Runs and nanoseconds a run of the program that ran most."""
    runs, time_ns = max((after[p][1] - before[p][1], after[p][0] - before[p][0]) for p in after if p in before)
    return runs, time_ns / max(runs, 1)


def measured(binary, name, kind, seconds):
    """Runs and ns a run of the busiest program of a kind while a script runs on every CPU; size and number of maps."""
    scripts = [script(cpu, name) for cpu in sorted(os.sched_getaffinity(0))]
    try:
        with Terminal([binary]) as screen:
            screen.wait_for("descend")
            before = programs(screen.pid, kind)
            if not before:
                raise SystemExit(f"tusktop holds no program of type {kind}: does it observe PHP?")
            time.sleep(seconds)
            return *difference(before, programs(screen.pid, kind)), map_bytes(screen.pid)
    finally:
        for process in scripts:
            process.send_signal(signal.SIGKILL)
            process.wait()


def run(binary, seconds=15):
    cpus = len(os.sched_getaffinity(0))
    before = SWITCH.read_text()
    try:
        SWITCH.write_text("1")
        print(f"\nRun time in the kernel, stacks of {DEPTH} frames, one php on each of {cpus} CPUs, {seconds} s each")
        runs, ns, (size, maps) = measured(binary, "forever.php", PERF_EVENT, seconds)
        print(f"sample: {runs} runs, {runs / seconds / cpus:.0f} Hz a CPU, {ns / 1000:.2f} us a run")
        runs, ns, _ = measured(binary, "sleeper.php", RAW_TRACEPOINT, seconds)
        print(f"switch: {runs} runs, {runs / seconds:.0f} a second, {ns / 1000:.2f} us a run, those of other programs included")
        print(f"maps: {maps} with {size / 2**20:.1f} MiB")
    finally:
        SWITCH.write_text(before)
