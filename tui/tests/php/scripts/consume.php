<?php

declare(strict_types=1);

// A queue's worker that keeps something of each job: half a MiB, four times a second.

$kept = [];
$next = hrtime(true);
while (true) {
    $kept[] = str_repeat('x', 512 * 1024);
    $next += 250_000_000;
    usleep(max(0, intdiv($next - hrtime(true), 1000)));
}
