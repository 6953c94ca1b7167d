<?php

declare(strict_types=1);

// Names that must not be trusted: each function of such a name uses CPU time and calls step() five times. On the command
// line it begins when the file named by its first argument is there; with another argument it goes on for so many ms.

require_once __DIR__ . '/work.php';

function step(): void
{
}

/** What every strange function does. */
const BODY = '{ for ($i = 0; $i < 5; $i++) { step(); } spin(BUDGET); }';

function deep(int $depth): void
{
    if ($depth > 1) {
        deep($depth - 1);
        return;
    }
    spin(BUDGET);
}

define('BUDGET', (int) ($_GET['ms'] ?? $argv[2] ?? 20) * 1_000_000);
while (isset($argv[1]) && !file_exists($argv[1])) {
    usleep(2000);
}
$long = str_repeat('f', 10_000);
$class = 'C' . str_repeat('c', 9_999);
$names = [$long, "invalid_\xff\xfe\xc3", "bidi_\u{202e}live", "width_\u{200b}\u{1f418}"];
foreach ($names as $name) {
    eval("function $name(): void " . BODY);
    $name();
}
eval("final class $class { public static function method(): void " . BODY . ' }');
$class::method();
$anonymous = eval('return new class { public function method(): void ' . BODY . ' };');
$anonymous->method();
class_alias($class, "alias\nof\x1b[2Ja\0class");
("alias\nof\x1b[2Ja\0class")::method();
$magic = eval('return new class { public function __call(string $name, array $arguments): void ' . BODY . ' };');
$magic->{"new\nline\0and\x1b]0;owned\x07"}();
// Files of such names are there when a test has made them.
foreach (glob(__DIR__ . '/strange*') as $file) {
    include $file;
}
deep(10_000);
echo "done\n";
