<?php

declare(strict_types=1);

// Calls of every kind, as often as the tests say. It begins when the file named by its first argument is there.

function fibonacci(int $n): int
{
    return $n < 2 ? $n : fibonacci($n - 1) + fibonacci($n - 2);
}

function even(int $n): bool
{
    return $n === 0 || odd($n - 1);
}

function odd(int $n): bool
{
    return $n !== 0 && even($n - 1);
}

abstract class Shape
{
    public function area(): float
    {
        return $this->side() * $this->side();
    }

    abstract protected function side(): float;

    public static function make(): Square
    {
        return new Square();
    }

    public function __call(string $name, array $arguments): string
    {
        return $name . count($arguments);
    }
}

class Square extends Shape
{
    public function __construct()
    {
        $this->prepare();
    }

    private function prepare(): void
    {
        usleep(1);
    }

    protected function side(): float
    {
        return (float) random_int(1, 9);
    }
}

function numbers(int $count): Generator
{
    for ($i = 0; $i < $count; $i++) {
        yield $i;
    }
}

function fails(int $depth): void
{
    if ($depth > 1) {
        fails($depth - 1);
    }
    throw new RuntimeException("from depth $depth");
}

function catches(): int
{
    try {
        fails(5);
    } catch (RuntimeException $exception) {
        return strlen($exception->getMessage());
    }
    return 0;
}

function spend(int $microseconds): int
{
    global $spent;
    $began = hrtime(true);
    for ($n = 0; hrtime(true) < $began + $microseconds * 1000; $n++) {
    }
    // Longer than it was asked for, where another process had the CPU.
    $spent += hrtime(true) - $began;
    return $n;
}

function in_fiber(int $rounds): void
{
    for ($i = 0; $i < $rounds; $i++) {
        spend(1000);
        Fiber::suspend(between());
    }
}

function between(): int
{
    return random_int(0, 1);
}

function leaf(): void
{
    spend(2000);
}

function branch(): void
{
    leaf();
    leaf();
    spend(1000);
}

function fibers(): void
{
    $fibers = [];
    for ($i = 0; $i < 3; $i++) {
        $fibers[$i] = new Fiber('in_fiber');
        $fibers[$i]->start(4);
    }
    // In another order than they were started in: calls do not end last in, first out.
    for ($round = 0; $round < 4; $round++) {
        foreach ([1, 0, 2] as $i) {
            $fibers[$i]->resume();
            between();
        }
    }
}

function deep(int $depth): int
{
    return $depth > 1 ? deep($depth - 1) + 1 : 1;
}

function everything(int $rounds): void
{
    for ($i = 0; $i < $rounds; $i++) {
        fibonacci(12);
        even(20);
        $square = Shape::make();
        $square->area();
        $square->magic(1, 2);
        foreach (numbers(7) as $number) {
            array_map(static fn (int $n): int => $n + random_int(0, 1), [$number]);
        }
        catches();
        $list = [3, 1, 2];
        usort($list, static function (int $a, int $b): int {
            return $a <=> $b;
        });
    }
}

$spent = 0;
// Nanoseconds that this process could have run but had no CPU (Documentation/scheduler/sched-stats.rst).
$queued = 0;
if (($argv[2] ?? '') === 'fatal') {
    register_shutdown_function('leaf');
}
register_shutdown_function(static function () use (&$spent, &$queued): void {
    $queued = (int) explode(' ', file_get_contents('/proc/self/schedstat'))[1] - $queued;
    echo "spent $spent ns\nqueued $queued ns\n";
});
while (!file_exists($argv[1])) {
    usleep(2000);
}
$queued = (int) explode(' ', file_get_contents('/proc/self/schedstat'))[1];
switch ($argv[2] ?? 'everything') {
    case 'everything':
        everything(10);
        break;
    case 'times':
        for ($i = 0; $i < 20; $i++) {
            branch();
        }
        break;
    case 'fibers':
        fibers();
        break;
    case 'include':
        require __DIR__ . '/work.php';
        break;
    case 'deep':
        deep((int) $argv[3]);
        break;
    case 'exit':
        (static function (): void {
            leaf();
            exit(3);
        })();
        break;
    case 'fatal':
        ini_set('memory_limit', '4M');
        branch();
        str_repeat('x', 64 << 20);
        break;
    case 'busy':
        while (true) {
            fibonacci(8);
        }
}
