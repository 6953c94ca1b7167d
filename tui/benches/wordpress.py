"""What tusktop takes of PHP's CPU time on a page of WordPress, by account: CPU time of the workers, run time of each BPF program, own CPU time."""

import json
import re
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from statistics import mean, median

from bpf_programs import KPROBE, PERF_EVENT, Counted, name, run_times
from php_site import WORKERS
from terminal import TICKS, Terminal
from wordpress_site import DONE, WordPress


def cpu_seconds(pids):
    """User and system time of these processes so far (proc_pid_stat(5), fields 14 and 15)."""
    stats = (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids)
    return sum(int(fields[11]) + int(fields[12]) for fields in stats) / TICKS


def switches(pids):
    """How often these processes were put off a CPU so far (proc_pid_status(5))."""
    return sum(int(count) for pid in pids for count in re.findall(r"ctxt_switches:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()))


def under_load(site, seconds, screen=None):
    """Requests in a run of load, the workers' CPU seconds and switches, with a screen its own CPU seconds, and by program ns and runs."""
    pids = site.worker_pids()

    def read():
        own = screen.cpu_seconds() if screen else 0.0
        return cpu_seconds(pids), switches(pids), own, run_times(screen.pid) if screen else {}

    before = read()
    requests = site.requests(seconds)
    after = read()
    programs = {}
    for program, (time_ns, runs) in after[3].items():
        # One that was loaded meanwhile has run only since then.
        time_before, runs_before = before[3].get(program, (0, 0))
        time_sum, runs_sum = programs.get(name(program), (0, 0))
        programs[name(program)] = time_sum + time_ns - time_before, runs_sum + runs - runs_before
    cpu, off, own = (late - early for early, late in zip(before[:3], after[:3]))
    return requests, cpu, off, own, programs


def wait_for_programs(site, screen, seconds=60):
    """Fetches pages until samples are taken and a probe in PHP was hit."""
    deadline = time.monotonic() + seconds
    while not all(any(runs for _, runs in run_times(screen.pid, kind).values()) for kind in (PERF_EVENT, KPROBE)):
        if not screen.alive() or time.monotonic() > deadline:
            raise SystemExit(f"tusktop does not observe PHP after {seconds} s; its screen shows: {screen.text()[-600:]!r}")
        site.fetch()


def watched(site, binary, seconds, warm_up):
    """As `under_load`, with the live screen, which must have seen a request before."""
    with Counted(), Terminal([binary]) as screen:
        wait_for_programs(site, screen)
        site.load(warm_up)
        return under_load(site, seconds, screen)


def depths(site, binary, seconds):
    """Frames of PHP at each query of a page, and at each sample of a run of load."""
    with urllib.request.urlopen(f"{site.url}?depths", timeout=20) as answer:
        at_queries = [int(depth) for depth in re.search(r"depths: ([\d ]+)", answer.read().decode())[1].split()]
    command = [binary, "snap", "--format", "json", "--duration", f"{seconds}s"]
    with tempfile.TemporaryFile("w+") as output, subprocess.Popen(command, stdout=output) as snap:
        try:
            while snap.poll() is None:
                site.load(1)
        finally:
            snap.kill()
        output.seek(0)
        stacks = json.load(output)["php"]["stacks"]
    at_samples = [len(stack["frames"]) for stack in stacks for _ in range(stack["samples"])]
    if not at_samples:
        raise SystemExit("tusktop has not sampled PHP")
    return at_queries, at_samples


def middle(values, digits, width=8):
    """The median with the lowest and the highest."""
    return f"{median(values):>{width}.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def print_programs(accounts):
    """A line for each program that ran, the most expensive first, and the sum."""
    names = {name for account in accounts for name, (_, runs) in account[4].items() if runs}
    rows = []
    for name in names:
        share, per_request, microseconds = [], [], []
        for requests, cpu, _, _, programs in accounts:
            time_ns, runs = programs.get(name, (0, 0))
            share.append(100 * time_ns / 1e9 / cpu)
            per_request.append(runs / requests)
            microseconds.append(time_ns / 1000 / max(runs, 1))
        rows.append((name, share, per_request, microseconds))
    print(f"{'program':>12} {'% of the CPU time of PHP':>28} {'runs a request':>28} {'us a run':>28}")
    for name, *columns in sorted(rows, key=lambda row: -median(row[1])):
        print(f"{name:>12} " + " ".join(f"{middle(column, digits):>28}" for column, digits in zip(columns, (3, 2, 2))))
    sums = [sum(time_ns for time_ns, _ in programs.values()) / 1e9 / cpu * 100 for _, cpu, _, _, programs in accounts]
    own = [100 * own / cpu for _, cpu, _, own, _ in accounts]
    print(f"{'sum':>12} {middle(sums, 3):>28}")
    print(f"{'own CPU time':>12} {middle(own, 3):>28}")
    print(f"{'all':>12} {middle([one + other for one, other in zip(sums, own)], 3):>28}")


def run(binary, rounds=3, seconds=30, warm_up=4):
    print(f"\nWordPress under php-fpm, {WORKERS} workers, wrk with as many connections, {rounds} rounds of {seconds} s not watched and {seconds} s watched")
    with WordPress() as site:
        queries = int(re.search(f"{DONE}(\\d+)", site.fetch())[1])
        site.load(warm_up)
        at_queries, at_samples = depths(site, binary, max(2, seconds // 3))
        print(
            f"a page: {queries} queries at {mean(at_queries):.0f} frames of PHP, at most {max(at_queries)};"
            f" {len(at_samples)} samples at {mean(at_samples):.0f} frames, at most {max(at_samples)}"
        )
        plain, accounts = [], []
        for number in range(rounds):
            site.load(warm_up)
            plain.append(under_load(site, seconds))
            accounts.append(watched(site, binary, seconds, warm_up))
            one, other = plain[-1], accounts[-1]
            print(
                f"round {number + 1}: not watched {one[0]} pages with {1000 * one[1] / one[0]:.2f} ms of PHP's CPU time each,"
                f" watched {other[0]} with {1000 * other[1] / other[0]:.2f}",
                flush=True,
            )
    print(f"ms of PHP's CPU time a page, not watched: {middle([1000 * cpu / requests for requests, cpu, *_ in plain], 2, 1)}")
    print(f"ms of PHP's CPU time a page, watched:     {middle([1000 * cpu / requests for requests, cpu, *_ in accounts], 2, 1)}")
    print(f"switches of the workers a page, watched:  {middle([off / requests for requests, _, off, *_ in accounts], 1, 1)}")
    print_programs(accounts)
    print(
        "Programs run for the whole machine: switches and samples of other processes are in these figures. The way into the kernel that a hit of"
        "\na probe takes is not; it is part of PHP's CPU time. The counting itself takes time too, and is in the run times in part."
    )
