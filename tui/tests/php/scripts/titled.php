<?php

declare(strict_types=1);

// A consumer that gives itself a title, as daemons of frameworks do, and waits for jobs.

cli_set_process_title('consumer: waiting for jobs');
echo "titled\n";
while (true) {
    usleep(10_000);
}
