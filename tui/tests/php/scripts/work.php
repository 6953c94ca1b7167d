<?php

declare(strict_types=1);

// CPU time by construction: the loops run until the process has used what they were given, by the process's own clock,
// so another process that takes the CPU does not change the shares.

function cpu_time_ns(): int
{
    $usage = getrusage();
    return ($usage['ru_utime.tv_sec'] + $usage['ru_stime.tv_sec']) * 1_000_000_000
        + ($usage['ru_utime.tv_usec'] + $usage['ru_stime.tv_usec']) * 1_000;
}

/** Uses `$budget` ns of CPU time; the clock is read every few ten microseconds. */
function spin(int $budget): int
{
    $end = cpu_time_ns() + $budget;
    $value = 1;
    do {
        for ($i = 0; $i < 4000; $i++) {
            $value = ($value * 31 + $i) & 0xffff;
        }
    } while (cpu_time_ns() < $end);
    return $value;
}

/** The same loop as spin(), in a function of its own name. */
function burn(int $budget): int
{
    $end = cpu_time_ns() + $budget;
    $value = 1;
    do {
        for ($i = 0; $i < 4000; $i++) {
            $value = ($value * 31 + $i) & 0xffff;
        }
    } while (cpu_time_ns() < $end);
    return $value;
}

/** The same loop as burn(), in a function of its own name. */
function rest(int $budget): int
{
    $end = cpu_time_ns() + $budget;
    $value = 1;
    do {
        for ($i = 0; $i < 4000; $i++) {
            $value = ($value * 31 + $i) & 0xffff;
        }
    } while (cpu_time_ns() < $end);
    return $value;
}

/** 80 % of the CPU time in burn(), 20 % in rest(), in slices of 10 ms, so that any window of time has these shares. */
function burn_and_rest(int $milliseconds): void
{
    $end = cpu_time_ns() + $milliseconds * 1_000_000;
    while (cpu_time_ns() < $end) {
        burn(8_000_000);
        rest(2_000_000);
    }
}
