<?php

declare(strict_types=1);

// Says again and again what a call of an empty function takes, the loop around it not counted.

function nothing(int $a): int
{
    return $a + random();
}

function random(): int
{
    static $n = 1;
    return $n ^= 3;
}

$rounds = (int) ($argv[1] ?? 20000);
while (true) {
    $began = hrtime(true);
    for ($i = 0; $i < $rounds; $i++) {
    }
    $empty = hrtime(true) - $began;
    $began = hrtime(true);
    for ($i = 0; $i < $rounds; $i++) {
        nothing($i);
    }
    printf("%.1f\n", (hrtime(true) - $began - $empty) / $rounds / 2);
}
