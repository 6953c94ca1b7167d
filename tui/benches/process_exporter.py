"""A process-exporter on a free port of 127.0.0.1, and what a scrape of it costs."""

import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

UNPACKED = Path(__file__).parents[2] / "target/packages/usr/bin/prometheus-process-exporter"
TICKS = os.sysconf("SC_CLK_TCK")


def program():
    """As .ci/packages unpacks it, or as it is installed."""
    found = str(UNPACKED) if UNPACKED.exists() else shutil.which("prometheus-process-exporter")
    if not found:
        raise SystemExit("there is no prometheus-process-exporter: run `.ci/packages bench`")
    return found


class ProcessExporter:
    """One with these rules and flags. Use it in a `with`; the first scrape is over then."""

    def __init__(self, rules, *flags):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.command = [program(), "-config.path", rules, "-web.listen-address", f"127.0.0.1:{self.port}", *flags]

    def __enter__(self):
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *self.command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 20
        while True:
            try:
                self.scrape()
                return self
            except (urllib.error.URLError, ConnectionError):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.__exit__()
                    raise SystemExit(f"{' '.join(self.command)}: it does not answer") from None
                time.sleep(0.05)

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def scrape(self):
        """The answer, as Prometheus gets it."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=60) as answer:
            return answer.read().decode("utf-8", "replace")

    def cpu_seconds(self):
        """User and system time of all threads so far (proc_pid_stat(5), fields 14 and 15)."""
        with open(f"/proc/{self.process.pid}/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def groups(self):
        """Groups that have processes, and how many."""
        lines = (line for line in self.scrape().splitlines() if line.startswith("namedprocess_namegroup_num_procs{"))
        counts = (line.rpartition(" ") for line in lines)
        return {name: int(float(count)) for name, _, count in counts if float(count)}
