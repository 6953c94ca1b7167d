"""A PHP site under php-fpm and nginx of its own, in a temporary folder: the servers, and a run of wrk. Which site is left to its heirs."""

import glob
import grp
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

WORKERS = 4
POOL = "bench"


def wait_until(what, condition, log, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            text = open(log, errors="replace").read()[-2000:] if os.path.exists(log) else ""
            raise SystemExit(f"{what} did not come up within {seconds} s\n{text}")
        time.sleep(0.02)


def accepts(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def end(process):
    """Asks for a graceful end of a process of ours, then insists."""
    for number in (signal.SIGQUIT, signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            process.send_signal(number)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                continue


class PhpSite:
    """Every request goes to `script`; `page` answers with `text`. Use it in a `with`: the servers and the folder are gone at the end of it."""

    def __init__(self, script, page, text, environment=None):
        self.script, self.page, self.text, self.environment = script, page, text, environment or {}
        self.folder = tempfile.mkdtemp(prefix="tusktop-bench-")
        self.user = pwd.getpwnam("nobody")
        self.processes = []
        try:
            os.chmod(self.folder, 0o755)
            self._prepare()
            self._start()
        except BaseException:
            self.__exit__()
            raise

    def _prepare(self):
        """Writes the site and its php.ini into the folder."""
        raise NotImplementedError

    def _give_away(self):
        """Gives the folder to the user of the workers."""
        for top, folders, files in os.walk(self.folder):
            for name in [".", *files]:
                os.chown(os.path.join(top, name), self.user.pw_uid, self.user.pw_gid)

    def _start(self):
        folder = self.folder
        fpm = sorted(glob.glob("/usr/sbin/php-fpm*"))[-1]
        self._write("php-fpm.conf", f"""
[global]
daemonize = no
error_log = {folder}/php-fpm.log
[{POOL}]
user = {self.user.pw_name}
listen = {folder}/fpm.sock
listen.mode = 0666
pm = static
pm.max_children = {WORKERS}
""")
        log = f"{folder}/php-fpm.log"
        self.master = self._run("fpm.out", fpm, "--nodaemonize", "--allow-to-run-as-root", "-y", f"{folder}/php-fpm.conf", "-c", f"{folder}/php.ini")
        wait_until("php-fpm", lambda: os.path.exists(log) and "ready to handle connections" in open(log).read(), log)
        self.port = next(port for port in range(21000 + os.getpid() % 8000, 32000) if not accepts(port))
        temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        self._write("nginx.conf", f"""
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
user {self.user.pw_name} {grp.getgrgid(self.user.pw_gid).gr_name};
events {{ worker_connections 128; }}
http {{
    access_log off;
    {temporary}
    include /etc/nginx/fastcgi_params;
    fastcgi_param SCRIPT_FILENAME {self.script};
    fastcgi_param SCRIPT_NAME /{os.path.basename(self.script)};
    server {{
        listen 127.0.0.1:{self.port};
        location / {{ fastcgi_pass unix:{folder}/fpm.sock; }}
    }}
}}
""")
        self._run("nginx.out", "/usr/sbin/nginx", "-c", f"{folder}/nginx.conf", "-e", f"{folder}/nginx.log")
        wait_until("nginx", lambda: accepts(self.port), f"{folder}/nginx.log")
        self.url = f"http://127.0.0.1:{self.port}{self.page}"
        if self.text not in self.fetch():
            raise SystemExit(f"{self.url} is not the page it should be; see {log}")

    def _write(self, name, text):
        with open(f"{self.folder}/{name}", "w", encoding="utf-8") as file:
            file.write(text)

    def _run(self, log, *command):
        output = open(f"{self.folder}/{log}", "ab")
        command = ["setpriv", "--pdeathsig", "TERM", "--", *command]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, env={**os.environ, **self.environment}
        )
        self.processes.append(process)
        return process

    def fetch(self):
        with urllib.request.urlopen(self.url, timeout=20) as answer:
            return answer.read().decode("utf-8", "replace")

    def load(self, seconds):
        """One run of wrk with a connection for each worker: all that it says."""
        run = subprocess.run(["wrk", "-t1", f"-c{WORKERS}", f"-d{seconds}s", "--timeout", "20s", self.url], capture_output=True, text=True, check=True)
        if "Non-2xx" in run.stdout or "Socket errors" in run.stdout:
            raise SystemExit(f"wrk had errors:\n{run.stdout}")
        return run.stdout

    def requests_per_second(self, seconds):
        return float(re.search(r"^Requests/sec: +([\d.]+)", self.load(seconds), re.MULTILINE)[1])

    def requests(self, seconds):
        """The requests that were answered in that time."""
        return int(re.search(r"(\d+) requests in", self.load(seconds))[1])

    def worker_pids(self):
        children = Path(f"/proc/{self.master.pid}/task/{self.master.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            end(process)
        shutil.rmtree(self.folder, ignore_errors=True)
