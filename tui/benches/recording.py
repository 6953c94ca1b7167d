"""Bytes a second of a recording beside atop's, what writing it costs, and how fast one of a day opens."""

import glob
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from php_site import PhpSite

ROOT = Path(__file__).parents[2]
UNPACKED = ROOT / "target/packages/usr/bin/atop"
FUNCTIONS = 300
ROUTES = 40
# Of the processes beside PHP, one in so many does something.
BUSY = 10
RULES = """\
process_names:
  - name: "php-fpm {{.Matches.Pool}}"
    cmdline: ['^php-fpm: pool (?P<Pool>\\S+)']
  - name: "{{.Comm}}"
    cmdline: ['.+']
"""
# Some milliseconds in functions that call each other; a different part of them for each route.
PAGE = """<?php
%s
$part = crc32(strtok($_SERVER['REQUEST_URI'] ?? '/', '?')) %% 30;
for ($number = 0; $number < 30; $number++) { ('f' . ($part * 10 + $number) %% %d)($number); }
usleep(500);
echo 'done';
"""
FUNCTION = "function f%d($n) { $s = 0; for ($i = 0; $i < 300; $i++) { $s += crc32((string) ($i * $n)); } return %s$s; }"


class Site(PhpSite):
    """A page with many functions."""

    def __init__(self):
        super().__init__("page.php", "/", "done")

    def _prepare(self):
        functions = (FUNCTION % (number, f"f{number + 1}($n) + " if number % 5 else "") for number in range(FUNCTIONS))
        last = f"function f{FUNCTIONS}($n) {{ return $n; }}"
        self._write("page.php", PAGE % ("\n".join([*functions, last]), FUNCTIONS))
        self._write("php.ini", "opcache.enable = 1\n")
        self.script = f"{self.folder}/page.php"
        self._give_away()


class Load:
    """So many requests a second, by four connections in turn. Use it in a `with`."""

    def __init__(self, port, rate):
        self.port, self.rate, self.done, self.ended = port, rate, 0, threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(4)]

    def _run(self, number):
        due, sent = time.monotonic(), number
        while not self.ended.is_set():
            due = max(due + 4 / self.rate, time.monotonic() - 1)
            time.sleep(max(0, due - time.monotonic()))
            path = f"/shop/section{sent % ROUTES}/{sent}"
            sent += 4
            with socket.create_connection(("127.0.0.1", self.port), 20) as client:
                client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
                while client.recv(4096):
                    pass
            self.done += 1

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        for thread in self.threads:
            thread.join()


class Processes:
    """Processes with the names of 40 programs, most of them asleep. Use it in a `with`."""

    def __init__(self, folder, count, programs=37):
        perl = os.path.realpath(shutil.which("perl"))
        names = [f"{folder}/service{number}" for number in range(programs)]
        for name in names:
            shutil.copy(perl, name)
        idle = "sleep 1000 while 1"
        busy = "my @a; while (1) { my $s = 0; $s += $_ for 1..20000; push @a, $s x 64; select undef, undef, undef, 0.2 }"
        self.commands = [
            [names[number % programs], "-e", busy if number % BUSY == 0 else idle] for number in range(count)
        ]

    def __enter__(self):
        self.processes = [
            subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", *command], stdin=subprocess.DEVNULL)
            for command in self.commands
        ]
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()


def written_cpu(pid):
    """CPU time in seconds of the thread that writes."""
    for task in glob.glob(f"/proc/{pid}/task/*"):
        with open(f"{task}/comm", encoding="utf-8") as comm:
            if comm.read().strip() == "write":
                with open(f"{task}/schedstat", encoding="utf-8") as stat:
                    return int(stat.read().split()[0]) / 1e9
    raise SystemExit("no thread writes")


def cpu(pid):
    with open(f"/proc/{pid}/stat", "rb") as stat:
        fields = stat.read().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def atop():
    return str(UNPACKED) if UNPACKED.exists() else shutil.which("atop")


def measure(binary, processes, rate, warm_up, seconds, aim):
    with tempfile.TemporaryDirectory(prefix="tusktop-bench-") as folder, Site() as site:
        rules, file, beside = f"{folder}/rules.yml", f"{folder}/a.tusk", f"{folder}/atop.raw"
        Path(rules).write_text(RULES, encoding="utf-8")
        with Processes(folder, processes), Load(site.port, rate) as load:
            command = [binary, "record", "-i", "1s", "--process-exporter-config", rules, "-o", file]
            recorder = subprocess.Popen(command, stderr=subprocess.PIPE)
            # In the foreground: no service, and nothing is left.
            other = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", atop(), "-w", beside, "1"]) if atop() else None
            try:
                time.sleep(warm_up)
                before = (os.path.getsize(file), os.path.getsize(beside) if other else 0, written_cpu(recorder.pid))
                whole, done, started = cpu(recorder.pid), load.done, time.monotonic()
                time.sleep(seconds)
                elapsed = time.monotonic() - started
                after = (os.path.getsize(file), os.path.getsize(beside) if other else 0, written_cpu(recorder.pid))
                size, atop_size, writing = ((now - then) / elapsed for now, then in zip(after, before))
                whole = (cpu(recorder.pid) - whole) / elapsed
                rate = (load.done - done) / elapsed
            finally:
                for process in filter(None, (recorder, other)):
                    process.terminate()
                    process.wait()
        last = subprocess.run([binary, "snap", file, "--window", "60s", "--format", "json"], capture_output=True, check=True)
        if keep := os.environ.get("TUSKTOP_BENCH_KEEP"):
            shutil.copy(file, keep)
    last = json.loads(last.stdout)
    print(
        f"{len(last['processes'])} processes, {len(last['groups'])} groups, {len(last['php']['functions'])} functions in a minute, "
        f"{len(last['php']['routes'])} routes, {rate:.0f} requests/s"
    )
    print(f"  bytes a second after {warm_up:.0f} s: {size:.0f} (aim {aim})", end="")
    print(f"; atop -w: {atop_size:.0f}; ratio {size / atop_size:.3f} (aim 0.1)" if other else "; there is no atop")
    print(f"  writing: {100 * writing:.2f} % of a core (aim 0.2) of {100 * whole:.1f} % in all")


def day(folder):
    programs = sorted(glob.glob(str(ROOT / "target/release/deps/recorded_day-*[0-9a-f]")), key=os.path.getmtime)
    if not programs:
        print("no recording of a day: `cargo bench --bench recorded_day --no-run` builds what makes it")
        return
    file = f"{folder}/day.tusk"
    subprocess.run([programs[-1], "write", file], check=True)
    subprocess.run([programs[-1], file], check=True)
    print("aims: first paint 100 ms, a jump 50 ms, key to answer while playing 20 ms (up to 64x), own memory 60 MiB")


def run(binary, warm_up=61, seconds=120, whole_day=True):
    print(f"\nRecording at 1 s, {seconds} s after {warm_up} s, PHP included; bytes are those of the files, CPU time is that of the thread that writes")
    measure(binary, 260, 100, warm_up, seconds, 1200)
    measure(binary, 1960, 650, warm_up, seconds, 4000)
    if whole_day:
        print("\nA recording of 24 hours, one thread, CPU time")
        with tempfile.TemporaryDirectory(prefix="tusktop-bench-", dir="/var/tmp") as folder:
            day(folder)
