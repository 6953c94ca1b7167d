"""Run time in the kernel, as the kernel itself counts it, of a sample and of a switch of threads; size of all maps."""

import os
import signal
import subprocess
import time
from pathlib import Path

from bpf_programs import PERF_EVENT, RAW_TRACEPOINT, Counted, descriptors, run_times
from terminal import Terminal, cpu_seconds

SCRIPTS = Path(__file__).parent.parent / "tests/php/scripts"
DEPTH = 16


def map_bytes(pid):
    """Memory of all maps that the process holds, and their number."""
    maps = {fields["map_id"].strip(): int(fields["memlock"]) for fields in descriptors(pid) if "map_id" in fields}
    return sum(maps.values()), len(maps)


def script(cpu, name, depth):
    """A script of that many frames on one CPU."""
    command = ["setpriv", "--pdeathsig", "KILL", "--", "php", "-n", str(SCRIPTS / name), str(depth)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    os.sched_setaffinity(process.pid, {cpu})
    return process


def prefer(pid):
    """Gives a process that leads its session the CPU before others, which would be sampled in its place (sched(7), autogroup)."""
    os.setpriority(os.PRIO_PROCESS, pid, -20)
    group = Path(f"/proc/{pid}/autogroup")
    if group.exists():
        group.write_text("-20")


def difference(before, after):
    """Runs and nanoseconds a run of the program that ran most."""
    runs, time_ns = max((after[p][1] - before[p][1], after[p][0] - before[p][0]) for p in after if p in before)
    return runs, time_ns / max(runs, 1)


def measured(binary, name, kind, seconds, depth=DEPTH):
    """Runs and ns a run of the busiest program of a kind while a script runs on every CPU; their share of all CPUs; size and number of maps."""
    scripts = [script(cpu, name, depth) for cpu in sorted(os.sched_getaffinity(0))]
    try:
        with Terminal([binary]) as screen:
            screen.wait_for("descend")
            for process in scripts:
                prefer(process.pid)
            before = run_times(screen.pid, kind)
            if not before:
                raise SystemExit(f"tusktop holds no program of type {kind}: does it observe PHP?")
            started, busy = time.monotonic(), sum(cpu_seconds(process.pid) for process in scripts)
            time.sleep(seconds)
            after, elapsed = run_times(screen.pid, kind), time.monotonic() - started
            busy = (sum(cpu_seconds(process.pid) for process in scripts) - busy) / elapsed / len(scripts)
            return *difference(before, after), busy, map_bytes(screen.pid)
    finally:
        for process in scripts:
            process.send_signal(signal.SIGKILL)
            process.wait()


def run(binary, seconds=15):
    cpus = len(os.sched_getaffinity(0))
    with Counted():
        print(f"\nRun time in the kernel, stacks of {DEPTH} frames, one php on each of {cpus} CPUs, {seconds} s each")
        runs, ns, busy, (size, maps) = measured(binary, "forever.php", PERF_EVENT, seconds)
        print(f"sample: {runs} runs, {runs / seconds / cpus:.0f} Hz a CPU, {ns / 1000:.2f} us a run; PHP had {100 * busy:.0f} % of all CPUs")
        runs, ns, _, _ = measured(binary, "sleeper.php", RAW_TRACEPOINT, seconds)
        print(f"switch: {runs} runs, {runs / seconds:.0f} a second, {ns / 1000:.2f} us a run, those of other programs included")
        print(f"maps: {maps} with {size / 2**20:.1f} MiB")
