"""What tusktop takes of PHP's CPU time on a page of WordPress, by account: CPU time of the workers, run time of each BPF program, own CPU time."""

import json
import re
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from statistics import mean, median
from typing import NamedTuple

from bpf_programs import KPROBE, PERF_EVENT, Counted, name, run_times
from php_site import WORKERS
from sample_cost import measured
from terminal import Terminal, cpu_seconds
from wordpress_site import DONE, WordPress

DEEP = 30  # frames; about the deepest that a page of WordPress has


def switches(pids):
    """How often these processes were put off a CPU so far (proc_pid_status(5))."""
    return sum(int(count) for pid in pids for count in re.findall(r"ctxt_switches:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()))


class Account(NamedTuple):
    """What a run of load took."""

    requests: int
    cpu: float  # seconds of the workers
    switches: int  # of the workers
    own: float  # CPU seconds of tusktop
    programs: dict  # run time in ns and runs, by name

    def page_ms(self):
        return 1000 * self.cpu / self.requests


def under_load(site, seconds, screen=None):
    """One run of load, watched by what is on the screen."""
    pids = site.worker_pids()

    def read():
        own = screen.cpu_seconds() if screen else 0.0
        return sum(map(cpu_seconds, pids)), switches(pids), own, run_times(screen.pid) if screen else {}

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
    return Account(requests, cpu, off, own, programs)


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
    ran = {program for account in accounts for program, (_, runs) in account.programs.items() if runs}
    rows = []
    for program in ran:
        share, per_request, microseconds = [], [], []
        for account in accounts:
            time_ns, runs = account.programs.get(program, (0, 0))
            share.append(100 * time_ns / 1e9 / account.cpu)
            per_request.append(runs / account.requests)
            microseconds.append(time_ns / 1000 / max(runs, 1))
        rows.append((program, share, per_request, microseconds))
    print(f"{'program':>12} {'% of the CPU time of PHP':>28} {'runs a request':>28} {'us a run':>28}")
    for program, *columns in sorted(rows, key=lambda row: -median(row[1])):
        print(f"{program:>12} " + " ".join(f"{middle(column, digits):>28}" for column, digits in zip(columns, (3, 2, 2))))
    sums = [100 * sum(time_ns for time_ns, _ in account.programs.values()) / 1e9 / account.cpu for account in accounts]
    own = [100 * account.own / account.cpu for account in accounts]
    print(f"{'sum':>12} {middle(sums, 3):>28}")
    print(f"{'own CPU time':>12} {middle(own, 3):>28}")
    print(f"{'all':>12} {middle([one + other for one, other in zip(sums, own)], 3):>28}")


def run(binary, rounds=3, seconds=30, warm_up=4):
    print(f"\nWordPress under php-fpm, {WORKERS} workers and connections, {rounds} rounds of {seconds} s not watched and {seconds} s watched")
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
            print(
                f"round {number + 1}: not watched {plain[-1].requests} pages with {plain[-1].page_ms():.2f} ms of PHP's CPU time each,"
                f" watched {accounts[-1].requests} with {accounts[-1].page_ms():.2f}",
                flush=True,
            )
    print(f"ms of PHP's CPU time a page, not watched: {middle([account.page_ms() for account in plain], 2, 1)}")
    print(f"ms of PHP's CPU time a page, watched:     {middle([account.page_ms() for account in accounts], 2, 1)}")
    print(f"switches of the workers a page, watched:  {middle([account.switches / account.requests for account in accounts], 1, 1)}")
    print(f"cores that tusktop itself took:           {middle([account.own / seconds for account in accounts], 4, 1)}")
    print_programs(accounts)
    print(
        "Programs run for the whole machine: switches and samples of other processes are in these figures. The way into the kernel that a hit of"
        "\na probe takes is not; it is part of PHP's CPU time. The counting itself takes time too, and is in the run times in part."
    )
    with Counted():
        runs, ns, busy, _ = measured(binary, "forever.php", PERF_EVENT, max(3, seconds // 3), DEEP)
    print(f"a sample at {DEEP} frames of PHP: {ns / 1000:.2f} us, mean of {runs} while PHP had {100 * busy:.0f} % of all CPUs")
