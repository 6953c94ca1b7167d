<?php

declare(strict_types=1);

// php forever.php [DEPTH]: uses a CPU until it is ended, in a stack of DEPTH frames: the script, descend(), spin().

require __DIR__ . '/work.php';

function descend(int $depth): void
{
    if ($depth > 1) {
        descend($depth - 1);
        return;
    }
    while (true) {
        spin(1_000_000_000);
    }
}

echo "started\n";
descend(max(1, (int) ($argv[1] ?? 16) - 2));
