<?php

declare(strict_types=1);

// Sleeps a little, again and again, below as many frames as its argument says: most of its time is waiting.

function descend(int $depth): void
{
    if ($depth > 1) {
        descend($depth - 1);
        return;
    }
    while (true) {
        usleep(10_000);
    }
}

descend((int) ($argv[1] ?? 1));
