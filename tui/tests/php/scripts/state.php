<?php

declare(strict_types=1);

/** What this PHP says of itself, as JSON. */
function state(): string
{
    $opcache = function_exists('opcache_get_status') ? opcache_get_status(false) : false;
    return json_encode([
        'version' => PHP_VERSION,
        'sapi' => PHP_SAPI,
        'opcache' => is_array($opcache) && $opcache['opcache_enabled'],
        'jit' => is_array($opcache) && ($opcache['jit']['on'] ?? false),
        'peak' => memory_get_peak_usage(true),
    ]) . "\n";
}
