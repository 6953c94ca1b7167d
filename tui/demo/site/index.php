<?php

declare(strict_types=1);

// A small shop with nothing behind it: the front controller of the demo.

namespace Shop;

spl_autoload_register(function (string $class): void {
    require __DIR__ . '/src/' . basename(str_replace('\\', '/', $class)) . '.php';
});

$path = (string) parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
$database = new Database();
$catalog = new Catalog($database);
$view = new View();

if ($path === '/') {
    echo $view->page('Shop', $view->listing($catalog->bestsellers(24)));
} elseif (preg_match('#^/product/(\d+)$#', $path, $match)) {
    $product = $catalog->find((int) $match[1]);
    echo $view->page($product->title, $view->product($product, $catalog->similarTo($product)));
} elseif ($path === '/search') {
    echo $view->page('Search', $view->listing($catalog->search((string) ($_GET['q'] ?? ''))));
} elseif ($path === '/cart' && $_SERVER['REQUEST_METHOD'] === 'POST') {
    echo (new Cart($database))->add((int) ($_POST['product'] ?? 0));
} elseif ($path === '/admin/report') {
    echo (new Report($catalog))->run();
} else {
    http_response_code(404);
    echo $view->page('Not here', '<p>There is no such page.</p>');
}
