<?php

declare(strict_types=1);

// traced.php?calls=N&ms=M: N calls, then a sleep of M milliseconds inside a call.

function step(int $i): int
{
    return $i ^ 1;
}

function steps(int $calls): void
{
    for ($i = 0; $i < $calls; $i++) {
        step($i);
    }
}

function dawdle(int $milliseconds): void
{
    usleep($milliseconds * 1000);
}

steps((int) ($_GET['calls'] ?? 1000));
if (isset($_GET['ms'])) {
    dawdle((int) $_GET['ms']);
}
echo "traced\n";
