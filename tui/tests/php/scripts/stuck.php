<?php

declare(strict_types=1);

// Hangs in many ways: `/stuck.php?in=sleep&ms=4000`, or `php stuck.php sleep 4000`.

function wait_for_nothing(int $milliseconds): void
{
    usleep($milliseconds * 1000);
}

function wait_for_a_lock(string $path): void
{
    $file = fopen($path, 'r');
    flock($file, LOCK_EX);
}

// What a client of a database does: it connects, says something and waits for an answer.
function query(string $address, int $milliseconds): void
{
    $socket = stream_socket_client($address);
    stream_set_timeout($socket, intdiv($milliseconds, 1000));
    fwrite($socket, "SELECT 1\n");
    fread($socket, 1024);
}

final class Session
{
    public static function hang(string $in, string $with, int $milliseconds): void
    {
        match ($in) {
            'sleep' => wait_for_nothing($milliseconds),
            'lock' => wait_for_a_lock($with),
            'database' => query($with, $milliseconds),
        };
    }
}

$arguments = $_GET ?: ['in' => $argv[1] ?? 'sleep', 'ms' => $argv[2] ?? '100', 'with' => $argv[3] ?? ''];
Session::hang($arguments['in'], $arguments['with'] ?? '', (int) $arguments['ms']);
http_response_code(202);
echo "released\n";
