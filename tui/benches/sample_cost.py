"""Run time of the sampling program in the kernel, for PHP stacks of 16 frames, as the kernel itself counts it."""

import os
import signal
import subprocess
import time
from pathlib import Path

from terminal import Terminal

SWITCH = Path("/proc/sys/kernel/bpf_stats_enabled")
SCRIPT = Path(__file__).parent.parent / "tests/php/forever.php"
PERF_EVENT = "7"  # BPF_PROG_TYPE_PERF_EVENT, include/uapi/linux/bpf.h
DEPTH = 16


def sampling_programs(pid):
    """Run time in ns and runs of each perf_event program that the process holds, by id (bpf_prog_show_fdinfo)."""
    found = {}
    for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
        try:
            fields = dict(line.split(":", 1) for line in entry.read_text().splitlines() if ":" in line)
        except OSError:
            continue
        if fields.get("prog_type", "").strip() == PERF_EVENT and "run_cnt" in fields:
            found[fields["prog_id"].strip()] = int(fields["run_time_ns"]), int(fields["run_cnt"])
    return found


def busy_script(cpu):
    """A script that uses one CPU, so that each sample of that CPU is one of PHP."""
    process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", "php", "-n", str(SCRIPT), str(DEPTH)], stdout=subprocess.DEVNULL)
    os.sched_setaffinity(process.pid, {cpu})
    return process


def run(binary, seconds=15):
    cpus = sorted(os.sched_getaffinity(0))
    print(f"\nSampling program, stacks of {DEPTH} frames, one busy php on each of {len(cpus)} CPUs, {seconds} s")
    before = SWITCH.read_text()
    scripts = [busy_script(cpu) for cpu in cpus]
    try:
        SWITCH.write_text("1")
        with Terminal([binary]) as screen:
            screen.wait_for("descend")
            started = sampling_programs(screen.pid)
            if not started:
                raise SystemExit("tusktop holds no program of type perf_event: is sampling on?")
            time.sleep(seconds)
            ended = sampling_programs(screen.pid)
    finally:
        SWITCH.write_text(before)
        for script in scripts:
            script.send_signal(signal.SIGKILL)
            script.wait()
    for program, (time_ns, runs) in ended.items():
        runs -= started[program][1]
        time_ns -= started[program][0]
        print(f"program {program}: {runs} runs, {runs / seconds / len(cpus):.0f} Hz a CPU, {time_ns / max(runs, 1) / 1000:.2f} us a run")
