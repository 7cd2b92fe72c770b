<?php
// Answers GET with what a test wants to know about this process.

declare(strict_types=1);

// PHP has no getuid without the posix extension: the kernel tells.
$status = file_get_contents('/proc/self/status');
preg_match('/^Uid:\s+(\d+)/m', $status, $uid);
preg_match('/^Gid:\s+(\d+)/m', $status, $gid);
$names = array_keys(getenv());
sort($names);

header('Content-Type: application/json');
echo json_encode([
    'image' => 'php',
    'version' => PHP_VERSION,
    'uid' => (int) $uid[1],
    'gid' => (int) $gid[1],
    'path' => $_SERVER['REQUEST_URI'] ?? '',
    'env' => $names,
], JSON_UNESCAPED_SLASHES), "\n";
