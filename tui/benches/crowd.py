"""10 000 processes: CPU time at a refresh of 1 s, and the time from a key to its answer on the terminal."""

import os
import random
import resource
import time

from screen_cost import Sleepers
from terminal import Terminal

HELP = "type to search"


def room(count):
    """Raises what can be raised for so many processes; says what is in the way."""
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    resource.setrlimit(resource.RLIMIT_NPROC, (hard, hard))
    for path in ("/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"):
        with open(path, encoding="utf-8") as file:
            limit = int(file.read())
        if limit < count + 2000:
            raise SystemExit(f"{path} is {limit}: too little for {count} processes")


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class Answers:
    """Presses `?` and looks how long the help takes to come."""

    def __init__(self, screen):
        self.screen = screen
        tasks = (f"/proc/{screen.pid}/task/{task}" for task in os.listdir(f"/proc/{screen.pid}/task"))
        self.sampler = next(task for task in tasks if self.name(task) == "proc")

    @staticmethod
    def name(task):
        with open(f"{task}/comm", encoding="utf-8") as file:
            return file.read().strip()

    def in_pass(self):
        """The thread that reads processes runs, so a pass is under way."""
        with open(f"{self.sampler}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[0] == b"R"

    def milliseconds(self, during_pass):
        time.sleep(0.5 + random.random())
        if during_pass:
            deadline = time.monotonic() + 10
            while not self.in_pass():
                if time.monotonic() > deadline:
                    raise SystemExit("no pass was seen within 10 s")
        self.screen.forget()
        pressed = time.monotonic()
        self.screen.press(b"?")
        answered = self.screen.wait_for(HELP) + self.screen.started
        self.screen.press(b"\x1b")
        return (answered - pressed) * 1000


def run(binary, processes=10_000, seconds=30, settle=15, presses=50):
    print(f"\n{processes} sleeping processes, live screen 200x50 at a refresh of 1 s")
    room(processes)
    with Sleepers(processes), Terminal([binary, "--interval", "1s"]) as screen:
        time.sleep(settle)
        if not screen.alive():
            raise SystemExit(f"it ended by itself: {screen.text()[-500:]!r}")
        before, started = screen.cpu_seconds(), time.monotonic()
        time.sleep(seconds)
        cores = (screen.cpu_seconds() - before) / (time.monotonic() - started)
        soft, _ = resource.prlimit(screen.pid, resource.RLIMIT_NOFILE)
        print(f"CPU {cores:.4f} of a core over {seconds} s (aim: 0.1), RSS {screen.resident_bytes() / 2**20:.1f} MiB, ", end="")
        print(f"{len(os.listdir(f'/proc/{screen.pid}/fd'))} of {soft} descriptors open")
        answers = Answers(screen)
        for what, during_pass in (("at a random moment", False), ("while a pass runs", True)):
            values = [answers.milliseconds(during_pass) for _ in range(presses)]
            print(
                f"key to its answer {what}, {presses} times: median {percentile(values, 0.5):.1f} ms, "
                f"p95 {percentile(values, 0.95):.1f}, max {max(values):.1f} (aim: 50)"
            )
