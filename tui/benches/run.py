#!/usr/bin/env python3
"""run.py TUSKTOP [PART...] [--quick]: measures a release build beside others, as root.

Parts are throughput, screen, scrape, crowd, sample, call, budget, wordpress, recording, paint and soak; all but soak, which takes an hour, by default. Nothing here passes or fails: it prints ratios of things measured side by side in one run. Run it on a
machine that does nothing else. --quick shortens everything to see whether it works; its figures mean nothing.
"""

import os
import platform
import signal
import sys

import budget
import call_cost
import crowd
import first_paint
import recording
import sample_cost
import scrape_cost
import screen_cost
import soak
import throughput
import wordpress

PARTS = {
    "throughput": (throughput.run, {"rounds": 2, "seconds": 2}),
    "screen": (screen_cost.run, {"rounds": 1, "seconds": 4}),
    "scrape": (scrape_cost.run, {"rounds": 1, "seconds": 4, "count": 3}),
    "crowd": (crowd.run, {"seconds": 5, "presses": 5}),
    "sample": (sample_cost.run, {"seconds": 3}),
    "call": (call_cost.run, {"rounds": 1, "seconds": 1}),
    "budget": (budget.run, {"rounds": 1, "seconds": 2}),
    "wordpress": (wordpress.run, {"rounds": 1, "seconds": 4, "warm_up": 1}),
    "recording": (recording.run, {"warm_up": 5, "seconds": 5, "whole_day": False}),
    "paint": (first_paint.run, {"rounds": 3}),
    "soak": (soak.run, {"minutes": 2, "warm_up": 0.5, "every": 0.5, "step": 2}),
}


def main():
    arguments = sys.argv[1:]
    quick = "--quick" in arguments
    if quick:
        arguments.remove("--quick")
    if not arguments or any(part not in PARTS for part in arguments[1:]):
        raise SystemExit(__doc__)
    if os.geteuid() != 0:
        raise SystemExit("run it as root: it starts php-fpm with workers of another user")
    # So that all that was started ends, and all settings are put back, as after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    binary, parts = os.path.realpath(arguments[0]), arguments[1:] or [part for part in PARTS if part != "soak"]
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    print(f"{platform.system()} {platform.release()} {platform.machine()}, {os.cpu_count()} CPUs, load {load}")
    if os.getloadavg()[0] > 0.5:
        print("The machine is not idle: the figures are worth less for it.")
    if quick:
        print("Quick: only shows that the harness works.")
    for part in parts:
        measure, short = PARTS[part]
        measure(binary, **(short if quick else {}))


main()
