"""CPU time and terminal output of the live screen beside htop and btop, with 2 000 sleeping processes."""

import os
import signal
import subprocess
import tempfile
import time
from statistics import median

from terminal import Terminal

PROCESSES = 2000


class Sleepers:
    """Processes that sleep, so that there is something to list. Use it in a `with`."""

    def __init__(self, count=PROCESSES):
        self.count = count

    def __enter__(self):
        self.processes = [
            subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", "sleep", "infinity"], stdin=subprocess.DEVNULL)
            for _ in range(self.count)
        ]
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.send_signal(signal.SIGKILL)
        for process in self.processes:
            process.wait()


def programs(binary, folder):
    """Name, command and environment, each at a refresh of 1 s and otherwise as it comes."""
    os.makedirs(f"{folder}/btop")
    with open(f"{folder}/btop/btop.conf", "w", encoding="utf-8") as file:
        file.write("update_ms = 1000\n")
    return [
        ("tusktop", [binary, "--interval", "1s"], {}),
        ("htop", ["htop", "--delay", "10"], {"HTOPRC": f"{folder}/htoprc"}),
        ("btop", ["btop", "--utf-force"], {"XDG_CONFIG_HOME": folder}),
    ]


def measure(command, env, settle, seconds):
    with Terminal(command, env=env) as screen:
        time.sleep(settle)
        if not screen.alive():
            raise SystemExit(f"{' '.join(command)} ended by itself: {screen.text()[-500:]!r}")
        cpu, size, started = screen.cpu_seconds(), screen.bytes, time.monotonic()
        time.sleep(seconds)
        elapsed = time.monotonic() - started
        return (screen.cpu_seconds() - cpu) / elapsed, (screen.bytes - size) / elapsed, screen.resident_bytes() / 2**20


def run(binary, rounds=3, seconds=20, settle=4):
    print(f"\nLive screens, 200x50, refresh 1 s, {PROCESSES} sleeping processes, {rounds} rounds of {seconds} s, medians")
    with tempfile.TemporaryDirectory() as folder, Sleepers():
        all_programs = programs(binary, folder)
        results = {name: [] for name, _, _ in all_programs}
        for number in range(rounds):
            for name, command, env in all_programs[number % 3:] + all_programs[:number % 3]:
                results[name].append(measure(command, env, settle, seconds))
    medians = {name: [median(values) for values in zip(*rows)] for name, rows in results.items()}
    print(f"{'':>8} {'cores':>8} {'of htop':>8} {'bytes/s':>9} {'of htop':>8} {'RSS MiB':>8}")
    base = medians["htop"]
    for name, (cores, size, resident) in medians.items():
        print(f"{name:>8} {cores:>8.4f} {cores / base[0]:>8.2f} {size:>9.0f} {size / base[1]:>8.2f} {resident:>8.1f}")
