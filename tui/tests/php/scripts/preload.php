<?php

declare(strict_types=1);

// For opcache.preload: no request compiles it.

function burn_preloaded(int $milliseconds): int
{
    $end = hrtime(true) + $milliseconds * 1_000_000;
    $value = 1;
    do {
        for ($i = 0; $i < 4000; $i++) {
            $value = ($value * 31 + $i) & 0xffff;
        }
    } while (hrtime(true) < $end);
    return $value;
}
