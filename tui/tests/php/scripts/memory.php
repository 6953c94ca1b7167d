<?php
// Takes memory in a known function, and says what PHP knows of it.
function take(int $mib): array
{
    $kept = [];
    for ($i = 0; $i < $mib; $i++) {
        $kept[] = str_repeat(chr(65 + $i % 26), 1 << 20);
        again(4);
    }
    return $kept;
}

/** Needs as much memory each time, which it gives back. */
function again(int $times): int
{
    $sum = 0;
    for ($i = 0; $i < $times; $i++) {
        $list = range(1, 10000);
        $sum += count($list);
    }
    return $sum;
}

again(20);
$kept = take((int) ($_GET['mib'] ?? $argv[1] ?? 1));
again((int) ($_GET['again'] ?? 0));
sleep((int) ($_GET['sleep'] ?? 0));
if (isset($_GET['late'])) {
    register_shutdown_function(function () {
        $late = take((int) $_GET['late']);
        echo memory_get_peak_usage(true);
    });
} else {
    echo memory_get_peak_usage(true);
}
