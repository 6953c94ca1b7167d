"""A WordPress of its own, as .ci/packages unpacks it, with its database: a mariadbd that only the workers' user can reach."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

from php_site import PhpSite, wait_until

UNPACKED = Path(__file__).parents[2] / "target/packages/usr/share/wordpress"
INSTALL = Path(__file__).with_name("wordpress_install.php")
TABLES = "/usr/share/mysql"
DONE = "queries: "

# Says at the end of each page how many queries it took; with ?depths how deep the stack was at each, 0 for the main script.
COUNT = f"""<?php
if (isset($_GET['depths'])) {{
    $depths = [];
    add_filter('query', function ($query) use (&$depths) {{
        $depths[] = count(debug_backtrace(DEBUG_BACKTRACE_IGNORE_ARGS)) - 2;
        return $query;
    }});
    add_action('shutdown', function () use (&$depths) {{ echo '<!-- depths: ', implode(' ', $depths), ' -->'; }}, 99);
}}
add_action('shutdown', function () {{ echo '<!-- {DONE}', get_num_queries(), ' -->'; }}, 99);
"""

# Nothing but pages: no jobs, no updates and no request to anybody.
CONFIGURATION = """<?php
define('DB_NAME', 'wordpress');
define('DB_USER', 'root');
define('DB_PASSWORD', '');
define('DB_HOST', 'localhost:{socket}');
define('DB_CHARSET', 'utf8mb4');
define('DB_COLLATE', '');
$table_prefix = 'wp_';
define('WP_DEFAULT_THEME', 'twentytwentyone');
define('WP_HOME', 'http://' . $_SERVER['HTTP_HOST']);
define('WP_SITEURL', WP_HOME);
define('WP_HTTP_BLOCK_EXTERNAL', true);
define('AUTOMATIC_UPDATER_DISABLED', true);
define('DISABLE_WP_CRON', true);
defined('ABSPATH') || define('ABSPATH', __DIR__ . '/');
require ABSPATH . 'wp-settings.php';
"""


def answers(path):
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(path) == 0


class WordPress(PhpSite):
    """One with posts and comments, whose page is one post with its comments."""

    def __init__(self, page="/post-7/"):
        super().__init__("", page, DONE)

    def _prepare(self):
        if not UNPACKED.exists():
            raise SystemExit(f"there is no {UNPACKED}: run `.ci/packages bench`")
        # What other packages hold is linked, and not needed for a page.
        site = f"{self.folder}/wordpress"
        shutil.copytree(UNPACKED, site, ignore_dangling_symlinks=True, ignore=shutil.ignore_patterns(".htaccess", "ca-bundle.crt"))
        os.makedirs(f"{site}/wp-content/mu-plugins")
        os.mkdir(f"{self.folder}/database", 0o700)
        self.socket = f"{self.folder}/database/socket"
        self.script = f"{site}/index.php"
        self._write("wordpress/wp-config.php", CONFIGURATION.format(socket=self.socket))
        self._write("wordpress/wp-content/mu-plugins/count.php", COUNT)
        self._write("php.ini", "display_errors = 0\nlog_errors = 1\nsendmail_path = /bin/false\n")
        self._give_away()
        self._start_database()
        install = [*self._as_user(), "php", "-c", f"{self.folder}/php.ini", "-d", "display_errors=stderr", str(INSTALL), site, self.socket]
        done = subprocess.run(install, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"WordPress was not installed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")

    def _as_user(self):
        # Who changes the user after it was asked to end with its parent forgets the latter: so it is asked here.
        return ["setpriv", "--reuid", self.user.pw_name, "--regid", str(self.user.pw_gid), "--clear-groups", "--pdeathsig", "TERM", "--"]

    def _start_database(self):
        folder = f"{self.folder}/database"
        server = [*self._as_user(), "mariadbd", "--no-defaults", f"--datadir={folder}", f"--tmpdir={folder}"]
        system = "".join(Path(TABLES, f"mysql_{name}.sql").read_text() for name in ("system_tables", "system_tables_data"))
        text = f"CREATE DATABASE mysql;\nUSE mysql;\n{system}"
        made = subprocess.run([*server, "--bootstrap"], input=text, capture_output=True, text=True)
        if made.returncode != 0:
            raise SystemExit(f"the database was not made:\n{made.stderr[-2000:]}")
        # No account is needed: the folder of the socket lets in only the workers' user.
        self._run("mariadbd.out", *server, "--skip-networking", "--skip-grant-tables", f"--socket={self.socket}", f"--pid-file={folder}/pid")
        wait_until("mariadbd", lambda: os.path.exists(self.socket) and answers(self.socket), f"{self.folder}/mariadbd.out", 30)
