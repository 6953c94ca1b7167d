<?php

declare(strict_types=1);

namespace Shop;

/** The report that everybody has: it keeps every row until the end, so its worker grows while it runs. */
final class Report
{
    private const BATCHES = 60;
    private const ROWS = 4000;

    /** @var list<array{day: int, product: string, cents: int}> */
    private array $rows = [];

    public function __construct(private readonly Catalog $catalog)
    {
    }

    public function run(): string
    {
        for ($batch = 0; $batch < self::BATCHES; $batch++) {
            $this->load($batch);
        }
        return json_encode($this->sumByProduct(), JSON_THROW_ON_ERROR);
    }

    private function load(int $batch): void
    {
        $products = $this->catalog->all();
        usleep(60_000);
        for ($i = 0; $i < self::ROWS; $i++) {
            $product = $products[($batch * self::ROWS + $i) % count($products)];
            $this->rows[] = ['day' => $i % 365, 'product' => "$product->title ($product->id)", 'cents' => $product->cents];
        }
    }

    /** @return array<string, int> */
    private function sumByProduct(): array
    {
        $sums = [];
        foreach ($this->rows as $row) {
            $sums[$row['product']] = ($sums[$row['product']] ?? 0) + $row['cents'];
        }
        arsort($sums);
        return $sums;
    }
}
