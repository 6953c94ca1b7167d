<?php

declare(strict_types=1);

// failures.php?case=NAME: every way to fail, each at a line of its own. The tests find the lines by the marks in `//@`.

namespace Failing;

class Declined extends \RuntimeException
{
    protected $message = 'declared';
    public string $extra = 'more properties';
}

final class Thrower
{
    public function method(): void
    {
        throw new Declined('from a method'); //@method
    }

    public static function fail(): never
    {
        throw new \LogicException('from a static method'); //@static
    }
}

function find(int $id): void
{
    throw new \InvalidArgumentException("user $id not found"); //@function
}

/** @return \Generator<int, int> */
function numbers(): \Generator
{
    yield 1;
    throw new \DomainException('from a generator'); //@generator
}

/** Runs something that throws, and catches it. */
function attempt(callable $what, int $times = 1): void
{
    for ($i = 0; $i < $times; $i++) {
        try {
            $what($i);
        } catch (\JsonException) {
            exit(1);
        } catch (\Throwable) { //@catch
        }
    }
}

function caught(): void
{
    attempt(find(...), 3);
    attempt(fn () => (new Thrower())->method(), 2);
    attempt(Thrower::fail(...));
    attempt(fn () => iterator_to_array(numbers()), 4);
    attempt(fn (int $i) => throw new \RangeException("closure $i"), 2); //@closure
    attempt(fn (int $i) => intdiv(1, $i * 0), 5); //@internal
    attempt(fn () => strlen([]), 2); //@type
    attempt(fn () => throw new class ('nameless') extends \Exception {}); //@anonymous
    attempt(fn () => throw new Declined()); //@declared
    attempt(function (): void {
        try {
            throw new \OutOfBoundsException('inner'); //@inner
        } catch (\OutOfBoundsException $inner) {
            throw new \OutOfRangeException('outer', 7, $inner); //@outer
        } finally {
            strtolower('the exception is on its way');
        }
    }, 2);
    attempt(function (): void {
        try {
            throw new \LengthException('twice'); //@again
        } catch (\LengthException $exception) {
            throw $exception;
        }
    });
}

function errors(): void
{
    for ($i = 0; $i < 3; $i++) {
        $value = $undefined; //@warning
    }
    $list = [];
    for ($i = 0; $i < 4; $i++) {
        $value = @$list['missing']; //@silenced
    }
    $value = strtoupper('') . hex2bin('abc'); //@internal-warning
    trigger_error('user error level notice', E_USER_NOTICE); //@user-notice
    trigger_error('user error level warning', E_USER_WARNING); //@user-warning
    trigger_error('user error level deprecated', E_USER_DEPRECATED); //@user-deprecated
    $old = error_reporting(E_ALL & ~E_USER_NOTICE);
    trigger_error('masked', E_USER_NOTICE); //@masked
    error_reporting($old);
    $object = new Thrower();
    $object->dynamic = 1; //@deprecated
    set_error_handler(fn () => true);
    $value = $handled; //@handled
    restore_error_handler();
}

/** Texts that must not be trusted. */
function hostile(): void
{
    attempt(fn () => throw new \Exception(str_repeat('long ', 2000))); //@long
    attempt(fn () => throw new \Exception("nul\0newline\nescape\x1b[2J\x1b]0;owned\x07")); //@escape
    attempt(fn () => throw new \Exception("\xff\xfe\xc3( invalid")); //@invalid
    attempt(fn () => throw new \Exception('')); //@empty
    attempt(function (): void {
        $exception = new \Exception('text');
        // Messages need not be texts.
        (function (): void {
            $this->message = ['a', 'list'];
        })->call($exception);
        throw $exception;
    });
    $long = 'Class' . str_repeat('x', 300);
    eval("class $long extends \Exception {}"); //@eval
    attempt(fn () => throw new $long('of a class with a long name')); //@long-class
}

switch ($_GET['case'] ?? $argv[1] ?? 'caught') {
    case 'caught':
        caught();
        break;
    case 'errors':
        errors();
        break;
    case 'hostile':
        hostile();
        break;
    case 'many':
        // One place in many requests, with another message each time.
        attempt(find(...), (int) ($_GET['times'] ?? $argv[2]));
        break;
    case 'classes':
        // More places than anyone keeps: a class each. Slow enough that it is no storm, of which not all is counted.
        for ($i = 0; $i < (int) $_GET['times']; $i++) {
            eval("class Of$i extends \\Exception {}");
            attempt(fn () => throw new ('Of' . $i)());
            usleep(400);
        }
        break;
    case 'uncaught':
        throw new Declined('nobody catches it'); //@uncaught
    case 'handler':
        set_exception_handler(fn () => print("handled\n"));
        throw new \UnexpectedValueException('for the handler'); //@handler
    case 'undefined':
        no_such_function(); //@undefined
    case 'memory':
        ini_set('memory_limit', '4M');
        str_repeat('x', 64 * 1024 * 1024); //@memory
    case 'time':
        set_time_limit(1);
        while (true) { //@time
        }
    case 'user-error':
        trigger_error('the application gives up', E_USER_ERROR); //@user-error
    case 'parse':
        include __DIR__ . '/broken.php';
    case 'exit':
        exit("left early\n");
}
echo "done\n";
