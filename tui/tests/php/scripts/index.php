<?php

declare(strict_types=1);

// The front controller of the test site: every URI comes here, so a server that only knows the script's name sees one
// route. It is written for PHP 7.4 and newer. What a route costs is known by construction (see work.php).

require __DIR__ . '/work.php';
require __DIR__ . '/names.php';

$path = parse_url($_SERVER['REQUEST_URI'] ?? '/', PHP_URL_PATH) ?: '/';
$milliseconds = (int) ($_GET['ms'] ?? 100);

function show_post(int $id): void
{
    echo "post $id\n";
}

/** Nanoseconds that it took. */
function slow_query(int $milliseconds): int
{
    $began = hrtime(true);
    usleep($milliseconds * 1000);
    return hrtime(true) - $began;
}

function descend(int $depth, int $milliseconds): void
{
    if ($depth > 1) {
        descend($depth - 1, $milliseconds);
        return;
    }
    spin($milliseconds * 1_000_000);
}

function use_up_memory(): string
{
    ini_set('memory_limit', '16M');
    return str_repeat('x', 64 * 1024 * 1024);
}

final class SlowDestructor
{
    private int $milliseconds;

    public function __construct(int $milliseconds)
    {
        $this->milliseconds = $milliseconds;
    }

    public function __destruct()
    {
        usleep($this->milliseconds * 1000);
    }
}

if (preg_match('#^/post/(\d+)$#', $path, $match)) {
    show_post((int) $match[1]);
} elseif (preg_match('#^/status/(\d{3})$#', $path, $match)) {
    http_response_code((int) $match[1]);
    echo "status $match[1]\n";
} elseif ($path === '/slow') {
    echo 'slow ', slow_query($milliseconds), "\n";
} elseif ($path === '/burn') {
    burn_and_rest($milliseconds);
    echo "burned\n";
} elseif ($path === '/recursive') {
    descend((int) ($_GET['depth'] ?? 16), $milliseconds);
    echo "recursive\n";
} elseif ($path === '/names') {
    echo implode("\n", run_all_kinds_of_names($milliseconds)), "\n";
} elseif ($path === '/memory') {
    $kept = str_repeat('m', (int) ($_GET['mib'] ?? 8) * 1024 * 1024);
    slow_query($milliseconds);
    echo strlen($kept), "\n";
} elseif ($path === '/state') {
    require __DIR__ . '/state.php';
    $kept = str_repeat('m', (int) ($_GET['mib'] ?? 0) * 1024 * 1024);
    echo state();
} elseif ($path === '/preloaded') {
    burn_preloaded($milliseconds);
    echo "burned\n";
} elseif ($path === '/throw') {
    throw new DomainException('thrown on purpose');
} elseif ($path === '/caught') {
    try {
        throw new LengthException('caught on purpose');
    } catch (LengthException $exception) {
        echo "caught\n";
    }
} elseif ($path === '/fatal') {
    use_up_memory();
} elseif ($path === '/exit') {
    http_response_code(503);
    exit("left early\n");
} elseif ($path === '/afterwards') {
    // What runs once the page itself is over, and decides the status.
    register_shutdown_function(static function () use ($milliseconds): void {
        slow_query($milliseconds);
        http_response_code(503);
    });
    $GLOBALS['kept'] = new SlowDestructor($milliseconds);
} elseif ($path === '/') {
    echo "front page\n";
} else {
    http_response_code(404);
    echo "no such page\n";
}
