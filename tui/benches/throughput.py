"""Requests per second of DokuWiki, watched and not watched, in pairs whose order alternates."""

from statistics import median

from dokuwiki import POOL, DokuWiki
from terminal import Terminal

WARM_UP = 1  # seconds of load before each measured run


def watched(site, binary, seconds):
    """One run with the live screen, which must have seen a request before it counts."""
    with Terminal([binary]) as screen:
        screen.wait_for(POOL)
        screen.wait_for("doku.php", poke=site.fetch)
        site.requests_per_second(WARM_UP)
        before = screen.cpu_seconds()
        rate = site.requests_per_second(seconds)
        return rate, (screen.cpu_seconds() - before) / seconds


def unwatched(site, seconds):
    site.requests_per_second(WARM_UP)
    return site.requests_per_second(seconds)


def run(binary, rounds=12, seconds=5):
    print(f"\nThroughput of DokuWiki under php-fpm, {rounds} pairs of {seconds} s, wrk with one connection for each worker")
    print(f"{'pair':>6} {'first':>10} {'not watched':>12} {'watched':>10} {'ratio':>7} {'own cores':>10} {'control':>8}")
    ratios, controls, costs = [], [], []
    with DokuWiki() as site:
        site.requests_per_second(seconds)
        for number in range(rounds):
            watched_first = number % 2 == 1
            if watched_first:
                (rate, cost), plain = watched(site, binary, seconds), unwatched(site, seconds)
            else:
                plain, (rate, cost) = unwatched(site, seconds), watched(site, binary, seconds)
            # The noise of the machine: the same pair with nothing watched in either half.
            pair = unwatched(site, seconds), unwatched(site, seconds)
            control = pair[1] / pair[0] if number % 2 else pair[0] / pair[1]
            ratios.append(rate / plain)
            controls.append(control)
            costs.append(cost)
            first = "watched" if watched_first else "not"
            print(f"{number + 1:>6} {first:>10} {plain:>12.1f} {rate:>10.1f} {rate / plain:>7.3f} {cost:>10.4f} {control:>8.3f}", flush=True)
    print(f"median ratio watched / not watched: {median(ratios):.3f} (min {min(ratios):.3f}, max {max(ratios):.3f})")
    print(f"median ratio of the control pairs:  {median(controls):.3f} (min {min(controls):.3f}, max {max(controls):.3f})")
    print(f"median own cost while watching:     {median(costs):.4f} of a core")
