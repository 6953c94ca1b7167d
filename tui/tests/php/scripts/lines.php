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

/** Calls nothing, so the executor never writes to the frame where it is. */
function computes(): int
{
    $value = 1;
    for ($i = 0; $i < 60000; $i++) { $value = ($value * 31 + $i) & 0xffff; } // three of four rounds
    for ($i = 0; $i < 20000; $i++) { $value = ($value * 31 + $i) & 0xffff; } // one of four rounds
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
    for ($end = cpu_time_ns() + $milliseconds * 1_000_000; cpu_time_ns() < $end;) {
        computes(); // computed
    }
}

calls_them((int) ($_GET['ms'] ?? 100));
echo "done\n";
