<?php

declare(strict_types=1);

namespace Shop;

use RuntimeException;

final class Cart
{
    public function __construct(private readonly Database $database)
    {
    }

    public function add(int $product): string
    {
        $this->reserve($product);
        $this->database->query("INSERT INTO cart VALUES ($product)", 20);
        return json_encode(['added' => $product], JSON_THROW_ON_ERROR);
    }

    /** The slow one: it waits for a lock, and one in fifteen products cannot be had. */
    private function reserve(int $product): void
    {
        $this->database->query("SELECT stock FROM products WHERE id = $product FOR UPDATE", 60 + $product % 5 * 30);
        if ($product % 15 === 0) {
            throw new RuntimeException("product $product is sold out");
        }
    }
}
