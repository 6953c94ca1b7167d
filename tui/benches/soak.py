"""Own memory over an hour with 2 000 processes and 100 process starts a second: a slope, with how sure it is."""

import os
import threading
import time
from math import sqrt

from screen_cost import PROCESSES, Sleepers
from terminal import Terminal

STARTS = 100  # a second


class Starts:
    """Starts short-lived processes at an even pace. Use it in a `with`."""

    def __enter__(self):
        self.count, self.ended = 0, False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended = True
        self.thread.join()

    def _run(self):
        due = time.monotonic()
        while not self.ended:
            pid = os.posix_spawn("/bin/true", ["/bin/true"], {})
            os.waitpid(pid, 0)
            self.count += 1
            due = max(due + 1 / STARTS, time.monotonic() - 1)
            time.sleep(max(0.0, due - time.monotonic()))


def memory(pid):
    """Resident memory and its anonymous part, which is heap and stacks, in KiB (proc_pid_status(5))."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        fields = dict(line.split(":", 1) for line in status)
    return int(fields["VmRSS"].split()[0]), int(fields["RssAnon"].split()[0])


def slope(points):
    """Least squares through (seconds, KiB): KiB an hour, and half the width of the interval of 95 %.

    The points are taken as independent; they are not quite, so the interval is a little too narrow.
    """
    count = len(points)
    mean_x, mean_y = (sum(values) / count for values in zip(*points))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    rise = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    rest = sum((y - mean_y - rise * (x - mean_x)) ** 2 for x, y in points)
    return rise * 3600, 1.96 * sqrt(rest / max(1, count - 2) / spread) * 3600


def run(binary, minutes=60, warm_up=10, every=5, step=10):
    print(f"\nOwn memory over {minutes} minutes, {PROCESSES} sleeping processes, {STARTS} starts a second, refresh 1 s")
    with Sleepers(), Terminal([binary, "--interval", "1s"]) as screen, Starts() as starts:
        began, points, shown = time.monotonic(), [], 0
        while (elapsed := time.monotonic() - began) < minutes * 60:
            if not screen.alive():
                raise SystemExit(f"it ended by itself: {screen.text()[-500:]!r}")
            resident, anonymous = memory(screen.pid)
            points.append((elapsed, resident, anonymous))
            if elapsed >= shown * every * 60:
                rate = starts.count / elapsed if elapsed else 0.0
                print(f"{elapsed / 60:>6.1f} min  RSS {resident:>7} KiB, anonymous {anonymous:>7} KiB, {rate:.0f} starts/s", flush=True)
                shown += 1
            time.sleep(max(0.0, began + len(points) * step - time.monotonic()))
    late = [point for point in points if point[0] >= warm_up * 60]
    for name, at in (("RSS", 1), ("anonymous", 2)):
        rise, sure = slope([(point[0], point[at]) for point in late])
        flat = "flat within that" if abs(rise) <= sure else "not flat"
        print(f"{name}: {rise:+.0f} KiB an hour ± {sure:.0f} (95 %), from minute {warm_up} on, {len(late)} points: {flat}")
