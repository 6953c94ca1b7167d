<?php

declare(strict_types=1);

// Sleeps a little, for ever: most of its time is waiting.

while (true) {
    usleep(50_000);
}
