<?php

declare(strict_types=1);

namespace Shop;

use OutOfBoundsException;

final class Catalog
{
    private const SIZE = 400;
    private const WORDS = ['oak', 'linen', 'copper', 'small', 'round', 'lamp', 'chair', 'shelf', 'clock', 'bowl', 'grey', 'tall'];

    /** @var list<Product> */
    private array $products = [];

    public function __construct(private readonly Database $database)
    {
    }

    public function find(int $id): Product
    {
        if ($id < 1 || $id > self::SIZE) {
            throw new OutOfBoundsException("no product $id");
        }
        $this->database->query("SELECT * FROM products WHERE id = $id", 2);
        return $this->build($id);
    }

    /** @return list<Product> */
    public function bestsellers(int $count): array
    {
        $this->database->query('SELECT * FROM products ORDER BY sold DESC', 4);
        $products = $this->all();
        usort($products, fn (Product $a, Product $b): int => crc32($b->title) <=> crc32($a->title));
        return array_slice($products, 0, $count);
    }

    /** @return list<Product> */
    public function similarTo(Product $product): array
    {
        $scores = [];
        foreach ($this->all() as $other) {
            $scores[$other->id] = $this->similarity($product, $other);
        }
        arsort($scores);
        return array_map($this->build(...), array_slice(array_keys($scores), 1, 6));
    }

    /** @return list<Product> */
    public function search(string $text): array
    {
        $this->database->query("SELECT * FROM products WHERE title LIKE '%$text%'", 15);
        $distance = fn (Product $product): int => min(array_map(fn (string $word): int => levenshtein($text, $word), $product->words));
        $products = $this->all();
        usort($products, fn (Product $a, Product $b): int => $distance($a) <=> $distance($b));
        return array_slice($products, 0, 12);
    }

    /** @return list<Product> */
    public function all(): array
    {
        return $this->products ?: $this->products = array_map($this->build(...), range(1, self::SIZE));
    }

    private function similarity(Product $one, Product $other): float
    {
        similar_text($one->title, $other->title, $percent);
        return $percent + 10 * count(array_intersect($one->words, $other->words));
    }

    private function build(int $id): Product
    {
        $seed = crc32("product $id");
        $words = [];
        for ($i = 0; $i < 4; $i++) {
            $words[] = self::WORDS[($seed >> ($i * 5)) % count(self::WORDS)];
        }
        return new Product($id, ucfirst(implode(' ', $words)), $words, 500 + $seed % 20_000);
    }
}
