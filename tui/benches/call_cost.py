"""What tracing one call costs: two hits of an empty BPF program at the same sites, tusktop, and bpftrace with the same sums."""

import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median

SCRIPT = Path(__file__).parent.parent / "tests/php/scripts/call_rate.php"
SITES = "usdt:{exe}:php:function__{site}"
#: Entry and return with nothing to do: what is left is the way into the kernel and back.
EMPTY = f"{SITES.format(exe='{exe}', site='entry')} {{}} {SITES.format(exe='{exe}', site='return')} {{}}"
#: Calls and total time by function, the least that can be called tracing.
SUMS = (
    f"{SITES.format(exe='{exe}', site='entry')} {{ @started[tid, arg0] = nsecs; @calls[str(arg0), str(arg1)] = count(); }} "
    f"{SITES.format(exe='{exe}', site='return')} /@started[tid, arg0]/ "
    "{ @total[str(arg0), str(arg1)] = sum(nsecs - @started[tid, arg0]); }"
)


class Script:
    """PHP that says again and again what a call takes; with opcache, as PHP runs on a server."""

    def __enter__(self):
        self.output = tempfile.TemporaryFile("w+")
        command = ["php", "-d", "opcache.enable_cli=1", str(SCRIPT), "20000"]
        environment = dict(os.environ, USE_ZEND_DTRACE="1")
        self.process = subprocess.Popen(command, stdout=self.output, stderr=subprocess.DEVNULL, env=environment)
        self.exe = os.readlink(f"/proc/{self.process.pid}/exe")
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.output.close()

    def figures(self):
        """Nanoseconds a call of every round so far."""
        text = os.pread(self.output.fileno(), 1 << 24, 0).decode()
        return [float(line) for line in text.split("\n")[:-1]]

    def median_of(self, seconds):
        """Median of the rounds that begin and end within the coming seconds."""
        before = len(self.figures())
        time.sleep(seconds)
        rounds = self.figures()[before + 1 :]
        if not rounds:
            raise SystemExit("the script did not finish a round in that time")
        return median(rounds)


def watched(script, command, seconds):
    """Median while a command watches the script, from the moment on that its traps slow it down."""
    plain = script.median_of(0.5)
    tool = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 20
    while script.median_of(0.3) < 4 * plain:
        if tool.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"{command[0]} did not trace the script: {tool.stderr.read() if tool.poll() is not None else 'nothing slowed down'}")
    figure = script.median_of(seconds)
    tool.send_signal(signal.SIGINT)
    tool.wait()
    deadline = time.monotonic() + 20
    while script.median_of(0.3) > 4 * plain:
        if time.monotonic() > deadline:
            raise SystemExit(f"{command[0]} has ended, but its traps have not")
    return figure


def run(binary, rounds=5, seconds=3):
    print(f"\nOne traced call (entry and return) of an empty PHP function, ns, {rounds} rounds of {seconds} s each")
    print(f"{'round':>6} {'plain':>8} {'empty x 2':>10} {'tusktop':>9} {'bpftrace':>9} {'tusktop/empty':>14} {'tusktop/bpftrace':>17}")
    ratios = []
    with Script() as script:
        pid = str(script.process.pid)
        bpftrace = ["bpftrace", "-q", "-p", pid, "-e"]
        tusktop = [binary, "snap", "--exact", "--budget", "100%", "--trace-limit", "10m", "--duration", "10m"]
        commands = {
            "empty": bpftrace + [EMPTY.replace("{exe}", script.exe)],
            "tusktop": tusktop,
            "bpftrace": bpftrace + [SUMS.replace("{exe}", script.exe)],
        }
        for number in range(rounds):
            plain = script.median_of(0.5)
            order = list(commands) if number % 2 == 0 else list(reversed(commands))
            found = {name: watched(script, commands[name], seconds) - plain for name in order}
            ratios.append((found["tusktop"] / found["empty"], found["tusktop"] / found["bpftrace"]))
            print(
                f"{number + 1:>6} {plain:>8.1f} {found['empty']:>10.0f} {found['tusktop']:>9.0f} {found['bpftrace']:>9.0f}"
                f" {ratios[-1][0]:>14.3f} {ratios[-1][1]:>17.3f}",
                flush=True,
            )
    print(f"median tusktop / two empty hits: {median(r[0] for r in ratios):.3f}")
    print(f"median tusktop / bpftrace:       {median(r[1] for r in ratios):.3f}")
