<?php

declare(strict_types=1);

// CPU time by line, by construction (see work.php): the comment behind a line is what the test finds it by.

require __DIR__ . '/work.php';

function two_loops(int $milliseconds): int
{
    $value = 1;
    $end = cpu_time_ns() + $milliseconds * 1_000_000;
    do {
        $slice = cpu_time_ns() + 6_000_000;
        do { for ($i = 0; $i < 4000; $i++) { $value = ($value * 31 + $i) & 0xffff; } } while (cpu_time_ns() < $slice); // three quarters
        $slice = cpu_time_ns() + 2_000_000;
        do { for ($i = 0; $i < 4000; $i++) { $value = ($value * 31 + $i) & 0xffff; } } while (cpu_time_ns() < $slice); // one quarter
    } while (cpu_time_ns() < $end);
    return $value;
}

function delegates(int $milliseconds): Generator
{
    yield from (function () use ($milliseconds): Generator {
        yield two_loops($milliseconds);
    })(); // delegated
}

function calls_them(int $milliseconds): void
{
    $first = strlen('a line that takes no time');
    $value = iterator_to_array(delegates($milliseconds)); // called
    $last = strlen('and another one');
}

calls_them((int) ($_GET['ms'] ?? 100));
echo "done\n";
