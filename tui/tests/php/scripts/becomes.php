<?php

declare(strict_types=1);

// php becomes.php GO PROGRAM ARGUMENTS...: uses a CPU until the file GO is there, then becomes another program.

function busy(): void
{
    for ($i = 0; $i < 100_000; $i++) {
    }
}

while (!file_exists($argv[1])) {
    busy();
    clearstatcache();
}
pcntl_exec($argv[2], array_slice($argv, 3));
