<?php

declare(strict_types=1);

namespace Shop;

final class View
{
    private const LAYOUT = '<!doctype html><title>{title}</title><h1>{title}</h1>{body}<footer>{year}</footer>';

    public function page(string $title, string $body): string
    {
        return $this->fill(self::LAYOUT, ['title' => $title, 'year' => date('Y')], ['body' => $body]);
    }

    /** @param list<Product> $products */
    public function listing(array $products): string
    {
        return implode('', array_map(
            fn (Product $product): string => $this->fill(
                '<li><a href="/product/{id}">{title}</a> {price}</li>',
                ['id' => (string) $product->id, 'title' => $product->title, 'price' => $this->price($product->cents)],
            ),
            $products,
        ));
    }

    /** @param list<Product> $similar */
    public function product(Product $product, array $similar): string
    {
        $data = json_encode(['@type' => 'Product', 'name' => $product->title, 'words' => $product->words], JSON_PRETTY_PRINT);
        return "<script type=\"application/ld+json\">$data</script>" . $this->listing($similar);
    }

    private function price(int $cents): string
    {
        return number_format($cents / 100, 2) . ' EUR';
    }

    /**
     * @param array<string, string> $texts escaped
     * @param array<string, string> $html as it is
     */
    private function fill(string $template, array $texts, array $html = []): string
    {
        $values = array_map($this->escape(...), $texts) + $html;
        return (string) preg_replace_callback('/\{(\w+)\}/', fn (array $match): string => $values[$match[1]] ?? '', $template);
    }

    private function escape(string $text): string
    {
        return htmlspecialchars($text, ENT_QUOTES);
    }
}
