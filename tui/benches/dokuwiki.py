"""DokuWiki: the installed program files, with a copy of its configuration and data."""

import shutil

from php_site import PhpSite

PROGRAM = "/usr/share/dokuwiki"
PAGE = "/doku.php?id=wiki:syntax"


class DokuWiki(PhpSite):
    """DokuWiki, or another script in its place."""

    def __init__(self, script=f"{PROGRAM}/doku.php", page=PAGE, text="Formatting Syntax", environment=None):
        super().__init__(script, page, text, environment)

    def _prepare(self):
        folder = self.folder
        shutil.copytree("/etc/dokuwiki", f"{folder}/conf", symlinks=False)
        shutil.copytree("/var/lib/dokuwiki/data", f"{folder}/data")
        self._write("conf/local.php", f"<?php $conf['savedir'] = '{folder}/data'; $conf['useacl'] = 0; $conf['updatecheck'] = 0;")
        self._write("prepend.php", f"<?php define('DOKU_MAIN_CONF', '{folder}/conf/'); define('DOKU_CONF', '{folder}/conf/');")
        self._write("php.ini", f"auto_prepend_file = {folder}/prepend.php\ndisplay_errors = 0\nlog_errors = 1\n")
        self._give_away()
