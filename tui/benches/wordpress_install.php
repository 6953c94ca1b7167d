<?php
// wordpress_install.php FOLDER SOCKET: installs the WordPress in FOLDER by its own installer, then fills it with posts and comments.

const POSTS = 40;
const PARTS = 2;
const GROUPS = 4; // around each part, one in the other
const COMMENTS = 8;

[, $folder, $socket] = $argv;
(new mysqli('localhost', 'root', '', '', 0, $socket))->query('CREATE DATABASE wordpress CHARACTER SET utf8mb4');

$_SERVER['HTTP_HOST'] = '127.0.0.1';
$_SERVER['SERVER_PROTOCOL'] = 'HTTP/1.1';
const WP_INSTALLING = true;

// Defined before WordPress does it: no mail is sent.
function wp_new_blog_notification()
{
}

require "$folder/wp-load.php";
require ABSPATH . 'wp-admin/includes/upgrade.php';
// The installer asks the site over HTTP whether it has pretty addresses; there is no server yet.
add_filter('pre_http_request', fn () => new WP_Error('closed', 'no requests during the installation'));
wp_install('Bench', 'admin', 'admin@example.org', true, '', 'bench');

$paragraph = '<!-- wp:paragraph --><p>' . str_repeat('Some <em>words</em> of a "paragraph" -- with a <a href="https://example.org/">link</a>. ', 8)
    . '</p><!-- /wp:paragraph -->';
$part = '<!-- wp:heading --><h2>A heading</h2><!-- /wp:heading -->' . $paragraph
    . '<!-- wp:quote --><blockquote class="wp-block-quote">' . $paragraph . '</blockquote><!-- /wp:quote -->';
for ($group = 0; $group < GROUPS; $group++) {
    $part = '<!-- wp:group --><div class="wp-block-group">' . $part . '</div><!-- /wp:group -->';
}
$category = wp_insert_term('Measured', 'category')['term_id'];
for ($post = 1; $post <= POSTS; $post++) {
    $id = wp_insert_post([
        'post_title' => "Post number $post",
        'post_name' => "post-$post",
        'post_status' => 'publish',
        'post_author' => 1,
        'post_category' => [$category],
        'tags_input' => ['first', 'second', "tag $post"],
        'post_content' => str_repeat($part, PARTS),
    ], true);
    for ($comment = 1; $comment <= COMMENTS; $comment++) {
        wp_insert_comment([
            'comment_post_ID' => $id,
            'comment_author' => "Reader $comment",
            'comment_author_email' => "reader$comment@example.org",
            'comment_content' => str_repeat('A comment of some words. ', 10),
            'comment_approved' => 1,
        ]);
    }
}
update_option('permalink_structure', '/%postname%/');
flush_rewrite_rules(false);
