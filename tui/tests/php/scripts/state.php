<?php

declare(strict_types=1);

/** What this PHP says of itself, as JSON. */
function state(): string
{
    $opcache = function_exists('opcache_get_status') ? opcache_get_status(false) : false;
    // Debian's PHP 7.4 has json_encode() in an extension that is not loaded here.
    return sprintf(
        '{"version":"%s","sapi":"%s","opcache":%s,"jit":%s,"peak":%d}' . "\n",
        PHP_VERSION,
        PHP_SAPI,
        var_export(is_array($opcache) && $opcache['opcache_enabled'], true),
        var_export(is_array($opcache) && ($opcache['jit']['on'] ?? false), true),
        memory_get_peak_usage(true)
    );
}
