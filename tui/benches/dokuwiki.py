"""DokuWiki under php-fpm and nginx of its own: the installed program files, with a copy of its configuration and data."""

import glob
import grp
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

WORKERS = 4
POOL = "bench"
PROGRAM = "/usr/share/dokuwiki"
PAGE = "/doku.php?id=wiki:syntax"


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


class DokuWiki:
    """DokuWiki, or another script in its place, that answers with `text`. Use it in a `with`: both servers and the folder are gone at the end of it."""

    def __init__(self, script=f"{PROGRAM}/doku.php", page=PAGE, text="Formatting Syntax", environment=None):
        self.script, self.page, self.text, self.environment = script, page, text, environment or {}
        self.folder = tempfile.mkdtemp(prefix="tusktop-bench-")
        self.processes = []
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise

    def _start(self):
        folder = self.folder
        os.chmod(folder, 0o755)
        shutil.copytree("/etc/dokuwiki", f"{folder}/conf", symlinks=False)
        shutil.copytree("/var/lib/dokuwiki/data", f"{folder}/data")
        self._write("conf/local.php", f"<?php $conf['savedir'] = '{folder}/data'; $conf['useacl'] = 0; $conf['updatecheck'] = 0;")
        self._write("prepend.php", f"<?php define('DOKU_MAIN_CONF', '{folder}/conf/'); define('DOKU_CONF', '{folder}/conf/');")
        self._write("php.ini", f"auto_prepend_file = {folder}/prepend.php\ndisplay_errors = 0\nlog_errors = 1\n")
        user = pwd.getpwnam("nobody")
        for top, folders, files in os.walk(folder):
            for name in [".", *files]:
                os.chown(os.path.join(top, name), user.pw_uid, user.pw_gid)
        fpm = sorted(glob.glob("/usr/sbin/php-fpm*"))[-1]
        self._write("php-fpm.conf", f"""
[global]
daemonize = no
error_log = {folder}/php-fpm.log
[{POOL}]
user = nobody
listen = {folder}/fpm.sock
listen.mode = 0666
pm = static
pm.max_children = {WORKERS}
""")
        log = f"{folder}/php-fpm.log"
        self._run("fpm.out", fpm, "--nodaemonize", "--allow-to-run-as-root", "-y", f"{folder}/php-fpm.conf", "-c", f"{folder}/php.ini")
        wait_until("php-fpm", lambda: os.path.exists(log) and "ready to handle connections" in open(log).read(), log)
        self.port = next(port for port in range(21000 + os.getpid() % 8000, 32000) if not accepts(port))
        temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        self._write("nginx.conf", f"""
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
user nobody {grp.getgrgid(user.pw_gid).gr_name};
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

    def fetch(self):
        with urllib.request.urlopen(self.url, timeout=20) as answer:
            return answer.read().decode("utf-8", "replace")

    def requests_per_second(self, seconds):
        """One run of wrk with a connection for each worker."""
        run = subprocess.run(["wrk", "-t1", f"-c{WORKERS}", f"-d{seconds}s", self.url], capture_output=True, text=True, check=True)
        if "Non-2xx" in run.stdout or "Socket errors" in run.stdout:
            raise SystemExit(f"wrk had errors:\n{run.stdout}")
        return float(next(line.split()[1] for line in run.stdout.splitlines() if line.startswith("Requests/sec:")))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            end(process)
        shutil.rmtree(self.folder, ignore_errors=True)
