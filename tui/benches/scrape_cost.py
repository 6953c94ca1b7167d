"""CPU time of one grouped pass over 2 000 processes, beside one scrape of process-exporter with the same rules and htop."""

import os
import tempfile
import time
from statistics import median

from process_exporter import ProcessExporter
from screen_cost import PROCESSES, Sleepers
from terminal import Terminal

# What a server might have: some programs by name, php-fpm by its pool, all others by comm.
RULES = """\
process_names:
  - name: "php-fpm {{.Matches.Pool}}"
    cmdline: ['^php-fpm: pool (?P<Pool>\\S+)']
  - name: "web"
    comm: [nginx, apache2]
  - exe: [/usr/sbin/mariadbd, postgres]
  - name: "{{.Comm}}"
    cmdline: ['.+']
"""


def live(command, env, settle, seconds):
    """CPU time for each refresh of a live screen at 1 s."""
    with Terminal(command, env=env) as screen:
        time.sleep(settle)
        if not screen.alive():
            raise SystemExit(f"{' '.join(command)} ended by itself: {screen.text()[-500:]!r}")
        before, started = screen.cpu_seconds(), time.monotonic()
        time.sleep(seconds)
        return (screen.cpu_seconds() - before) / (time.monotonic() - started)


def scrapes(rules, flags, settle, count):
    """CPU time for each scrape, two a second at most."""
    with ProcessExporter(rules, *flags) as exporter:
        time.sleep(settle)
        before = exporter.cpu_seconds()
        for _ in range(count):
            started = time.monotonic()
            exporter.scrape()
            time.sleep(max(0.0, 0.5 - (time.monotonic() - started)))
        return (exporter.cpu_seconds() - before) / count


def floor(seconds):
    """CPU time that the kernel takes to print all /proc/PID/stat into one buffer, by descriptors that are kept open."""
    descriptors = [os.open(f"/proc/{pid}/stat", os.O_RDONLY) for pid in os.listdir("/proc") if pid.isdigit()]
    buffer = [bytearray(4096)]
    passes, before, end = 0, time.thread_time(), time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            for descriptor in descriptors:
                try:
                    os.preadv(descriptor, buffer, 0)
                except ProcessLookupError:
                    pass
            passes += 1
        return (time.thread_time() - before) / passes
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def run(binary, rounds=5, seconds=20, settle=4, count=20):
    print(
        f"\nOne grouped pass over {PROCESSES} processes and those of the machine, no PSS, {rounds} rounds, medians. "
        f"tusktop and htop: CPU time for each refresh of the live screen, drawing included, over {seconds} s at 1 s; "
        f"process-exporter: for each of {count} scrapes"
    )
    with tempfile.TemporaryDirectory() as folder, Sleepers():
        rules = f"{folder}/rules.yml"
        with open(rules, "w", encoding="utf-8") as file:
            file.write(RULES)
        ours = [binary, "--interval", "1s", "--no-php", "--pss-budget", "0", "--process-exporter-config", rules]
        measures = [
            ("tusktop", lambda: live(ours, {}, settle, seconds)),
            ("process-exporter", lambda: scrapes(rules, ["-gather-smaps=false"], settle, count)),
            ("  without threads", lambda: scrapes(rules, ["-gather-smaps=false", "-threads=false"], settle, count)),
            ("htop", lambda: live(["htop", "--delay", "10"], {"HTOPRC": f"{folder}/htoprc"}, settle, seconds)),
            ("floor", lambda: floor(seconds / 4)),
        ]
        results = {name: [] for name, _ in measures}
        for number in range(rounds):
            shift = number % len(measures)
            for name, measure in measures[shift:] + measures[:shift]:
                results[name].append(measure() * 1000)
    base = median(results["tusktop"])
    for name, values in results.items():
        ratio = f"tusktop / it: {base / median(values):.3f}" if name != "tusktop" else ""
        print(f"{name:>18} {median(values):>8.2f} ms  ({min(values):.2f} to {max(values):.2f})  {ratio}")
    print("aims: 0.05 of process-exporter, 0.25 of htop. floor: the kernel printing every /proc/PID/stat once, called from")
    print("Python by descriptors kept open; `cargo bench --bench proc_pass` has the pass of tusktop alone")
