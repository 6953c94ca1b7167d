"""A pseudo terminal with a program in it: counts what the program writes and shows its text without escapes."""

import fcntl
import os
import pty
import re
import signal
import struct
import termios
import threading
import time

ESCAPES = re.compile(rb"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[()][0-9A-Z]|[=>78DEHMc])")
CURSOR_QUESTION = b"\x1b[6n"  # device status report, which every terminal answers
TICKS = os.sysconf("SC_CLK_TCK")


def plain(output):
    """The printed characters without escape sequences and blanks: a screen is drawn by moves, not by spaces."""
    return re.sub(rb"\s", b"", ESCAPES.sub(b"", output))


def cpu_seconds(pid):
    """User and system time of all threads so far (proc_pid_stat(5), fields 14 and 15)."""
    with open(f"/proc/{pid}/stat", "rb") as stat:
        fields = stat.read().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Terminal:
    """`command` in a terminal of `columns` x `lines`. Use it in a `with`: the program is ended at the end of it."""

    def __init__(self, command, columns=200, lines=50, env=None, quit_key=b"q"):
        self.command, self.quit_key = command, quit_key
        self.bytes = 0
        self.output = bytearray()
        self.lock = threading.Lock()
        environment = dict(os.environ, TERM="xterm-256color", LC_ALL="C.UTF-8", **(env or {}))
        for name in ("COLORTERM", "NO_COLOR"):
            environment.pop(name, None)
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.started = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            os.login_tty(slave) if hasattr(os, "login_tty") else login_tty(slave)
            os.closerange(3, 256)
            try:
                os.execvpe(command[0], command, environment)
            finally:
                os._exit(127)
        os.close(slave)
        self.master = master
        self.exit_status = None
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        while True:
            try:
                chunk = os.read(self.master, 65536)
            except OSError:
                return
            if not chunk:
                return
            if CURSOR_QUESTION in chunk:
                os.write(self.master, b"\x1b[1;1R")
            with self.lock:
                self.bytes += len(chunk)
                self.output += chunk
                del self.output[:-4_000_000]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def text(self):
        with self.lock:
            return plain(bytes(self.output))

    def forget(self):
        """Drops the output so far, so that `wait_for` looks at what comes now."""
        with self.lock:
            self.output.clear()

    def press(self, keys):
        os.write(self.master, keys)

    def wait_for(self, text, seconds=20, poke=None):
        """Waits until `text` is on the screen; calls `poke` before each look. Returns the seconds since the start."""
        wanted = re.sub(rb"\s", b"", text.encode())
        deadline = time.monotonic() + seconds
        while True:
            if poke:
                poke()
            if wanted in self.text():
                return time.monotonic() - self.started
            if not self.alive() or time.monotonic() > deadline:
                tail = self.text()[-600:].decode("utf-8", "replace")
                raise SystemExit(f"{' '.join(self.command)}: no {text!r} on the screen after {seconds} s; it shows: {tail}")
            time.sleep(0.002)

    def alive(self):
        if self.exit_status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.exit_status = status
        return self.exit_status is None

    def cpu_seconds(self):
        return cpu_seconds(self.pid)

    def resident_bytes(self):
        with open(f"/proc/{self.pid}/statm", "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def end(self):
        """Asks by key, then by signal; waits for the process."""
        if self.alive() and self.quit_key:
            self.press(self.quit_key)
            self._wait(3)
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.alive():
                os.kill(self.pid, number)
                self._wait(3)
        os.close(self.master)

    def _wait(self, seconds):
        deadline = time.monotonic() + seconds
        while self.alive() and time.monotonic() < deadline:
            time.sleep(0.005)


def login_tty(slave):
    """os.login_tty of Python 3.11 for older ones."""
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for number in range(3):
        os.dup2(slave, number)
