<?php

declare(strict_types=1);

namespace Shop;

final class Product
{
    /** @param list<string> $words */
    public function __construct(
        public readonly int $id,
        public readonly string $title,
        public readonly array $words,
        public readonly int $cents,
    ) {
    }
}
