<?php

declare(strict_types=1);

// storm.php?case=errors&count=1000: does one thing that is observed, as often and as fast as it can.

$count = (int) $_GET['count'];
match ($_GET['case']) {
    'errors' => errors($count),
    'exceptions' => exceptions($count),
    'compiles' => compiles($count),
    'waits' => waits($count),
};

function errors(int $count): void
{
    for ($i = 0; $i < $count; $i++) {
        @trigger_error('storm', E_USER_WARNING);
    }
}

function exceptions(int $count): void
{
    for ($i = 0; $i < $count; $i++) {
        try {
            throw new RuntimeException('storm');
        } catch (RuntimeException) {
        }
    }
}

function compiles(int $count): void
{
    for ($i = 0; $i < $count; $i++) {
        include __DIR__ . '/empty.php';
    }
}

function waits(int $count): void
{
    for ($i = 0; $i < $count; $i++) {
        usleep(1);
    }
}

echo 'done';
