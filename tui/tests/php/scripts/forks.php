<?php

declare(strict_types=1);

// forks.php GO COUNT: waits for the file GO, forks children that end at once, then waits.

[, $go, $count] = $argv;
while (!file_exists($go)) {
    usleep(10_000);
    clearstatcache();
}
for ($i = 0; $i < (int) $count; $i++) {
    $child = pcntl_fork();
    if ($child === 0) {
        exit(0);
    }
    pcntl_waitpid($child, $status);
}
echo "forked $count\n";
sleep(600);
