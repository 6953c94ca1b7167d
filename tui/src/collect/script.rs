//! What PHP on the command line runs, by its arguments: the script, and the command of those scripts that have many. For both
//! collectors; which group follows from it is a matter of `rules`.

use std::{borrow::Cow, sync::Arc};

/// Scripts that run the command which their first argument names, without the endings `.php` and `.phar`.
const CONSOLES: &[&str] = &[
    "artisan",
    "cake",
    "composer",
    "console",
    "contao-console",
    "craft",
    "drupal",
    "drush",
    "hyperf",
    "joomla",
    "magento",
    "n98-magerun",
    "n98-magerun2",
    "occ",
    "oro",
    "phinx",
    "please",
    "rr",
    "spark",
    "symfony",
    "tempest",
    "think",
    "typo3",
    "typo3cms",
    "wp",
    "wp-cli",
    "yii",
];
/// Longest command that is part of a name, in bytes.
const COMMAND: usize = 48;
/// Arguments of PHP and of a console that are looked through.
const ARGUMENTS: usize = 64;

/// A script and what it was told to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Script {
    /// As the command line has it.
    pub path: Arc<str>,
    /// The last part of its path, and behind it the command of a console: `artisan queue:work`.
    pub name: Arc<str>,
}

impl Script {
    /// What PHP runs that was started with these arguments, each with a NUL behind it; `None` where it runs no file.
    pub(crate) fn of(arguments: &[u8]) -> Option<Self> {
        let mut arguments = arguments.split(|&byte| byte == 0).map(String::from_utf8_lossy).take(ARGUMENTS).skip(1);
        let path = loop {
            let argument = arguments.next()?;
            match &*argument {
                "-d" | "-c" | "-z" | "--define" | "--php-ini" | "--zend-extension" => _ = arguments.next(),
                // Code of the command line, and the built-in server.
                "-r" | "-S" | "-B" | "-R" | "-E" | "--run" | "--server" => return None,
                "" => {}
                option if option.starts_with('-') => {}
                path => break path.to_owned(),
            }
        };
        Self::named(&path, arguments)
    }

    /// The script at a path, which nothing more is known of.
    pub(crate) fn at(path: &str) -> Option<Self> {
        Self::named(path, std::iter::empty())
    }

    fn named<'a>(path: &str, arguments: impl Iterator<Item = Cow<'a, str>>) -> Option<Self> {
        let file = path.rsplit('/').next().unwrap_or_default();
        let base = [".php", ".phar"].iter().find_map(|ending| file.strip_suffix(ending)).unwrap_or(file);
        let command = if CONSOLES.contains(&base) { command(arguments) } else { None };
        let name = match command {
            Some(command) => format!("{file} {command}").into(),
            None => file.into(),
        };
        (!file.is_empty()).then(|| Self { path: path.into(), name })
    }
}

/// The first argument of a console that is no option. It is part of a name, so it must look like a command: anything else may be a
/// number or a secret.
fn command<'a>(mut arguments: impl Iterator<Item = Cow<'a, str>>) -> Option<Cow<'a, str>> {
    loop {
        let argument = arguments.next()?;
        match &*argument {
            "-e" | "--env" => _ = arguments.next(),
            option if option.starts_with('-') => {}
            command => {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b":_-".contains(&byte);
                let looks_so = command.len() <= COMMAND
                    && command.starts_with(|first: char| first.is_ascii_alphabetic())
                    && command.bytes().all(plain);
                return looks_so.then_some(argument);
            }
        }
    }
}

/// Whether a program of this name is PHP on the command line: `php`, `php8.2`, `php82`, `php-8.3-cli`, `ea-php82`, `phpdbg`.
pub(crate) fn is_php(program: &str) -> bool {
    let program = program.strip_suffix(" (deleted)").unwrap_or(program);
    let name = ["ea-", "alt-"].iter().find_map(|vendor| program.strip_prefix(vendor)).unwrap_or(program);
    let Some(rest) = name.strip_prefix("phpdbg").or_else(|| name.strip_prefix("php")) else { return false };
    let rest = rest.strip_suffix("-cli").or_else(|| rest.strip_suffix("cli")).unwrap_or(rest);
    rest.strip_prefix('-').unwrap_or(rest).bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn script(arguments: &str) -> Option<(String, String)> {
        Script::of(arguments.replace(' ', "\0").as_bytes())
            .map(|script| (script.path.to_string(), script.name.to_string()))
    }

    #[test]
    fn a_script_is_found_behind_the_options_of_php() {
        for (arguments, path, name) in [
            ("php /srv/cron.php", "/srv/cron.php", "cron.php"),
            ("php -q -f cron.php 7", "cron.php", "cron.php"),
            ("php8.2 -d memory_limit=1G --define a=b -n /srv/a.php x:y", "/srv/a.php", "a.php"),
            ("php -dmemory_limit=1G -- worker", "worker", "worker"),
            ("/usr/bin/php8.2 /srv/www/artisan queue:work --tries=3", "/srv/www/artisan", "artisan queue:work"),
            ("php artisan --env=prod -v horizon", "artisan", "artisan horizon"),
            ("php bin/console -e prod messenger:consume", "bin/console", "console messenger:consume"),
            ("php /usr/local/bin/wp-cli.phar cron event run", "/usr/local/bin/wp-cli.phar", "wp-cli.phar cron"),
            ("php artisan --version", "artisan", "artisan"),
            ("phpdbg -qrr a.php", "a.php", "a.php"),
        ] {
            assert_eq!(script(arguments), Some((path.to_owned(), name.to_owned())), "{arguments}");
        }
        for none in ["php", "php -r echo(1);", "php -S 127.0.0.1:80 router.php", "php -v", "", "php /srv/"] {
            assert_eq!(script(none), None, "{none}");
        }
    }

    #[test]
    fn what_may_be_a_secret_is_no_command() {
        for arguments in ["php artisan 4711", "php notify.php admin:hunter2", "php artisan pass=word"] {
            let name = script(arguments).unwrap().1;
            assert!(!name.contains(' '), "{arguments}: {name}");
        }
        let long = format!("php artisan {}", "a".repeat(COMMAND + 1));
        assert_eq!(script(&long).unwrap().1, "artisan");
    }

    #[test]
    fn programs_of_many_vendors_are_php_and_servers_are_not() {
        for name in
            ["php", "php8.2", "php82", "php-8.3-cli", "php8.3-cli", "php-cli", "ea-php82", "phpdbg8.2", "php (deleted)"]
        {
            assert!(is_php(name), "{name}");
        }
        for name in ["php-fpm", "php-fpm8.2", "php8.2-fpm", "php-cgi", "lsphp", "phpunit", "phpstorm", "xphp", ""] {
            assert!(!is_php(name), "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_arguments_are_looked_through(arguments in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Some(script) = Script::of(&arguments) {
                prop_assert!(!script.name.is_empty() && !script.name.contains('/'));
            }
        }
    }
}
