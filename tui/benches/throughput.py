"""Requests per second of DokuWiki, watched and not watched, in rounds of four runs whose order cancels a steady drift."""

from statistics import median

from dokuwiki import DokuWiki
from php_site import POOL
from terminal import Terminal

WARM_UP = 1  # seconds of load before each measured run


def measured(site, seconds):
    site.requests_per_second(WARM_UP)
    return site.requests_per_second(seconds)


def watched(site, binary, seconds, runs):
    """Runs with the live screen, which must have seen a request before they count, and its own cores meanwhile."""
    with Terminal([binary]) as screen:
        screen.wait_for(POOL)
        screen.wait_for("doku.php", poke=site.fetch)
        before = screen.cpu_seconds()
        rates = [measured(site, seconds) for _ in range(runs)]
        return rates, (screen.cpu_seconds() - before) / (runs * (seconds + WARM_UP))


def round_of_four(site, binary, seconds, outer):
    """Rates (not watched, watched) of A B B A or B A A B, and the own cost."""
    if outer == "not":
        first = measured(site, seconds)
        inside, cost = watched(site, binary, seconds, 2)
        return (first + measured(site, seconds)) / 2, sum(inside) / 2, cost
    (first,), cost = watched(site, binary, seconds, 1)
    inside = [measured(site, seconds) for _ in range(2)]
    (last,), again = watched(site, binary, seconds, 1)
    return sum(inside) / 2, (first + last) / 2, (cost + again) / 2


def control_of_four(site, seconds):
    """The noise of the machine: the same round with nothing watched in any run."""
    rates = [measured(site, seconds) for _ in range(4)]
    return (rates[1] + rates[2]) / (rates[0] + rates[3])


def run(binary, rounds=12, seconds=4):
    print(f"\nThroughput of DokuWiki under php-fpm, {rounds} rounds of four runs of {seconds} s, wrk with one connection for each worker")
    print(f"{'round':>6} {'outer':>10} {'not watched':>12} {'watched':>10} {'ratio':>7} {'own cores':>10} {'control':>8}")
    ratios, controls, costs = [], [], []
    with DokuWiki() as site:
        site.requests_per_second(seconds)
        for number in range(rounds):
            outer = "watched" if number % 2 else "not"
            plain, rate, cost = round_of_four(site, binary, seconds, outer)
            control = control_of_four(site, seconds)
            ratios.append(rate / plain)
            controls.append(control)
            costs.append(cost)
            print(f"{number + 1:>6} {outer:>10} {plain:>12.1f} {rate:>10.1f} {rate / plain:>7.3f} {cost:>10.4f} {control:>8.3f}", flush=True)
    print(f"median ratio watched / not watched: {median(ratios):.3f} (min {min(ratios):.3f}, max {max(ratios):.3f})")
    print(f"median ratio of the control rounds: {median(controls):.3f} (min {min(controls):.3f}, max {max(controls):.3f})")
    print(f"median own cost while watching:     {median(costs):.4f} of a core")
