<?php

declare(strict_types=1);

// alpha.php and beta.php have the same shape and other names: without opcache the engine puts the second script's
// functions where the first one's were.

require __DIR__ . '/work.php';

final class AlphaCounter
{
    public function alpha_method(int $budget): int
    {
        return spin($budget);
    }
}

function alpha_function(int $budget): int
{
    return spin($budget);
}

$budget = intdiv((int) ($_GET['ms'] ?? 100) * 1_000_000, 2);
alpha_function($budget);
(new AlphaCounter())->alpha_method($budget);
echo "alpha\n";
