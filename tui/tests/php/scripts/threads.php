<?php

declare(strict_types=1);

// Pages of a server with threads. Each one answers with what it has done by its own clock, that of its thread.

$path = parse_url($_SERVER['REQUEST_URI'] ?? '/worker', PHP_URL_PATH) ?: '/';
$milliseconds = (int) ($_GET['ms'] ?? 100);

/** Uses so many nanoseconds of CPU time and returns how many it were. */
function hot(int $budget): int
{
    $begun = thread_cpu_time_ns();
    $value = 1;
    do {
        for ($i = 0; $i < 4000; $i++) {
            $value = ($value * 31 + $i) & 0xffff;
        }
    } while (thread_cpu_time_ns() - $begun < $budget);
    return thread_cpu_time_ns() - $begun;
}

/** The same in a function of its own name. */
function mild(int $budget): int
{
    $begun = thread_cpu_time_ns();
    $value = 1;
    do {
        for ($i = 0; $i < 4000; $i++) {
            $value = ($value * 31 + $i) & 0xffff;
        }
    } while (thread_cpu_time_ns() - $begun < $budget);
    return thread_cpu_time_ns() - $begun;
}

function nap(int $milliseconds): int
{
    $begun = hrtime(true);
    usleep($milliseconds * 1000);
    return hrtime(true) - $begun;
}

if ($path === '/burn') {
    $hot = $mild = 0;
    while ($hot + $mild < $milliseconds * 1_000_000) {
        $hot += hot(3_000_000);
        $mild += mild(1_000_000);
    }
    echo "$hot $mild";
} elseif ($path === '/nap') {
    echo nap($milliseconds);
} elseif ($path === '/uncaught') {
    throw new DomainException('from a thread'); //@uncaught
} elseif ($path === '/caught') {
    try {
        throw new LengthException('caught in a thread'); //@caught
    } catch (LengthException) {
        echo 'caught';
    }
} elseif ($path === '/errors') {
    trigger_error('loud', E_USER_WARNING); //@loud
    @trigger_error('silent', E_USER_WARNING); //@silent
} elseif ($path === '/memory') {
    $kept = str_repeat('m', (int) ($_GET['mib'] ?? 8) * 1024 * 1024);
    nap($milliseconds);
    echo memory_get_peak_usage(true);
} elseif ($path === '/worker') {
    // One request that never ends.
    while (true) {
        hot(3_000_000);
        mild(1_000_000);
        nap(4);
    }
} elseif (preg_match('#^/status/(\d{3})/#', $path, $match)) {
    http_response_code((int) $match[1]);
}
