<?php
// The page of a shop, in PHP: it takes REVIEWS_PORT for a port.

$port = getenv('REVIEWS_PORT') ?: '9080';
$reviews = @file_get_contents("http://reviews:{$port}/reviews/0");
if ($reviews === false) {
    $reviews = 'Sorry, product reviews are currently unavailable for this book.';
}
echo $reviews, "\n";
