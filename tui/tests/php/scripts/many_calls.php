<?php

declare(strict_types=1);

// A page that makes 40 000 calls of small functions, as a big application does.

function square(int $n): int
{
    return ($n * $n) % 9973;
}

function step(int $n): int
{
    return square($n) ^ square($n + 1) ^ square($n + 2);
}

$sum = 0;
for ($i = 0; $i < 10_000; $i++) {
    $sum += step($i);
}
echo $sum, "\n";
