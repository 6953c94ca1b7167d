<?php

declare(strict_types=1);

// Uses the CPU, sleeps and takes memory, each as long or as much as its arguments say (ms, ms, MiB), and says what PHP knows of it.

require __DIR__ . '/work.php';
require __DIR__ . '/state.php';

burn_and_rest((int) $argv[1]);
$began = hrtime(true);
usleep((int) $argv[2] * 1000);
echo 'slow ', hrtime(true) - $began, "\n";
$kept = str_repeat('m', (int) $argv[3] << 20);
echo state();
