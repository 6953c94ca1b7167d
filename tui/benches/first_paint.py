"""Time from exec to the first frame with a group's name in it, beside htop's first frame with its header."""

import json
import subprocess
import tempfile
from statistics import median

from terminal import Terminal


def biggest_group(binary):
    """The name of the group with most memory, as `snap` has it."""
    run = subprocess.run([binary, "snap", "--format", "json"], capture_output=True, text=True, check=True)
    groups = json.loads(run.stdout)["groups"]
    return max(groups, key=lambda group: group["memory"]["rss_bytes"] or 0)["name"]


def run(binary, rounds=20):
    group = biggest_group(binary)
    print(f"\nFirst paint, 200x50, {rounds} starts in turn; for tusktop until {group!r} is on the screen")
    times = {"tusktop": [], "htop": []}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for name, command, text in (("tusktop", [binary], group), ("htop", ["htop"], "Load average")):
                with Terminal(command, env={"HTOPRC": f"{folder}/htoprc"}) as screen:
                    times[name].append(screen.wait_for(text) * 1000)
    for name, values in times.items():
        ratio = median(values) / median(times["htop"])
        print(f"{name:>8} median {median(values):>7.1f} ms, slowest {max(values):>7.1f} ms, {ratio:.2f} of htop")
