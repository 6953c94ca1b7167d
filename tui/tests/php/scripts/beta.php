<?php

declare(strict_types=1);

// alpha.php and beta.php have the same shape and other names: without opcache the engine puts the second script's
// functions where the first one's were.

require __DIR__ . '/work.php';

final class BetaCounter
{
    public function beta_method(int $budget): int
    {
        return spin($budget);
    }
}

function beta_function(int $budget): int
{
    return spin($budget);
}

$budget = intdiv((int) ($_GET['ms'] ?? 100) * 1_000_000, 2);
beta_function($budget);
(new BetaCounter())->beta_method($budget);
echo "beta\n";
