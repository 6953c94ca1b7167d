<?php

declare(strict_types=1);

// Every kind of name that a PHP function can have. Each one uses CPU time, so that a sampler meets it.

namespace Shop\Catalog {
    trait Priced
    {
        public function price(int $budget): int
        {
            return \spin($budget);
        }
    }

    abstract class Item
    {
        public function inherited(int $budget): int
        {
            return \spin($budget);
        }

        public function __call(string $name, array $arguments): int
        {
            return \spin($arguments[0]);
        }
    }

    final class Product extends Item
    {
        use Priced;

        private int $budget;

        public function __construct(int $budget)
        {
            $this->budget = $budget;
        }

        public function title(): int
        {
            return \spin($this->budget);
        }

        public static function create(int $budget): self
        {
            \spin($budget);
            return new self($budget);
        }
    }

    function find(int $budget): int
    {
        return \spin($budget);
    }
}

namespace {
    use Shop\Catalog\Product;

    /** @return Generator<int, int> */
    function numbers(int $budget): Generator
    {
        for ($i = 0; $i < 4; $i++) {
            spin(intdiv($budget, 4));
            yield $i;
        }
    }

    /**
     * Runs each kind for an equal part of the time.
     *
     * @return list<string> the names, as a profiler is expected to print them
     */
    function run_all_kinds_of_names(int $milliseconds): array
    {
        $budget = intdiv($milliseconds * 1_000_000, 10);
        $product = Product::create($budget);
        $product->title();
        $product->price($budget);
        $product->inherited($budget);
        $product->magic($budget);
        Shop\Catalog\find($budget);
        iterator_to_array(numbers($budget));
        $closure = function (int $budget): int {
            return spin($budget);
        };
        $closure($budget);
        $arrow = fn (int $budget): int => spin($budget);
        $arrow($budget);
        $anonymous = new class () {
            public function run(int $budget): int
            {
                return spin($budget);
            }
        };
        $anonymous->run($budget);
        return [
            'Shop\Catalog\Product::create',
            'Shop\Catalog\Product::title',
            'Shop\Catalog\Product::price',
            'Shop\Catalog\Item::inherited',
            'Shop\Catalog\Item::__call',
            'Shop\Catalog\find',
            'numbers',
            '{closure}',
            'class@anonymous::run',
        ];
    }
}
