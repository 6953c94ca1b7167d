"""Requests per second of a page with 40 000 calls, traced exactly within the default budget and not watched."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from statistics import median

from dokuwiki import DokuWiki
from throughput import WARM_UP, control_of_four, measured

SCRIPT = Path(__file__).parent.parent / "tests/php/scripts/many_calls.php"


class Traced:
    """tusktop traces for longer than it is needed, and says at its end what it did."""

    def __init__(self, binary, seconds):
        self.output = tempfile.TemporaryFile("w+")
        command = [binary, "snap", "--exact", "--format", "json", "--duration", f"{seconds}s"]
        self.process = subprocess.Popen(command, stdout=self.output)

    def end(self):
        self.process.wait()
        self.output.seek(0)
        return json.load(self.output)["php"]["exact"]


def run(binary, rounds=10, seconds=5):
    print(f"\nThroughput of a page with 40 000 calls, traced within the default budget, {rounds} rounds of four runs of {seconds} s")
    print(f"{'round':>6} {'not watched':>12} {'traced':>10} {'ratio':>7} {'spent':>7} {'part':>7} {'calls':>9} {'control':>8}")
    ratios, controls, spent, parts = [], [], [], []
    with tempfile.TemporaryDirectory(prefix="tusktop-bench-") as folder:
        os.chmod(folder, 0o755)
        script = shutil.copy(SCRIPT, folder)
        with DokuWiki(script, "/", "", {"USE_ZEND_DTRACE": "1"}) as site:
            site.requests_per_second(seconds)
            for number in range(rounds):
                before = measured(site, seconds)
                # It attaches and counts calls first; the runs lie well inside of its time.
                traced = Traced(binary, 2 * (seconds + WARM_UP) + 4)
                site.requests_per_second(2)
                inside = [measured(site, seconds) for _ in range(2)]
                exact = traced.end()
                plain = (before + measured(site, seconds)) / 2
                control = control_of_four(site, seconds)
                rate = sum(inside) / 2
                ratios.append(rate / plain)
                controls.append(control)
                spent.append(exact["spent_ratio"] or 0)
                parts.append(exact["traced_ratio"] or 0)
                print(
                    f"{number + 1:>6} {plain:>12.1f} {rate:>10.1f} {rate / plain:>7.3f} {100 * spent[-1]:>6.2f}% {100 * parts[-1]:>6.2f}%"
                    f" {exact['calls']:>9} {control:>8.3f}",
                    flush=True,
                )
    print(f"median ratio traced / not watched:  {median(ratios):.3f} (min {min(ratios):.3f}, max {max(ratios):.3f})")
    print(f"median ratio of the control rounds: {median(controls):.3f} (min {min(controls):.3f}, max {max(controls):.3f})")
    print(f"spent by its own account {100 * median(spent):.2f} % of all CPUs; {100 * median(parts):.2f} % of PHP's requests traced")
