<?php

declare(strict_types=1);

namespace Shop;

/** Stands for a database: a query waits as long as one would. */
final class Database
{
    public function query(string $statement, int $milliseconds): int
    {
        usleep($milliseconds * 1000);
        return crc32($statement);
    }
}
