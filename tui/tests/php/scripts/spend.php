<?php

declare(strict_types=1);

// php spend.php MILLISECONDS: 80 % of so much CPU time in burn(), 20 % in rest(), then the end.

require __DIR__ . '/work.php';

burn_and_rest((int) ($argv[1] ?? 1000));
echo "done\n";
