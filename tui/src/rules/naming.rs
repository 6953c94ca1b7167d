//! How the built-in rules name PHP groups: those of a php-fpm pool and of a script on the command line. Code that names such a
//! group without a rule (for a process that has ended, or for the grouping by pool) uses the same names.

use std::sync::Arc;

/// The group of a pool, as a template.
pub(super) const POOL: &str = "php-fpm: {pool}";
/// The group of a pool in a container, as a template.
pub(super) const POOL_IN_CONTAINER: &str = "php-fpm: {pool} ({container})";
/// The group of a script, as a template.
pub(crate) const SCRIPT: &str = "php: {script}";
/// The group of PHP on the command line that runs no script.
pub(crate) const NO_SCRIPT: &str = "php cli";

/// The group of a php-fpm pool.
pub(crate) fn of_pool(pool: &str, container: Option<&str>) -> String {
    match container {
        Some(container) => format!("php-fpm: {pool} ({container})"),
        None => format!("php-fpm: {pool}"),
    }
}

/// The group of a pool whose name another master has taken, which is named by the pid of its own.
pub(crate) fn of_master(group: &str, master: u32) -> String {
    format!("{group} (master {master})")
}

/// The group of a server that serves PHP by itself: of its master, where it has one.
pub(crate) const FPM_MASTER: &str = "php-fpm: master";
/// Apache, whatever it is called.
pub(crate) const APACHE: &str = "apache";
/// PHP's own web server.
pub(crate) const BUILT_IN_SERVER: &str = "php -S";
/// php-cgi whose user is not known.
pub(crate) const CGI: &str = "php cgi";

/// The group of PHP on the command line, by what it runs.
pub(crate) fn of_script(script: Option<&str>) -> Arc<str> {
    match script {
        Some(name) => format!("php: {name}").into(),
        None => NO_SCRIPT.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_the_templates_make() {
        let filled = |template: &str| template.replace("{pool}", "www").replace("{container}", "3f2a");
        assert_eq!(of_pool("www", None), filled(POOL));
        assert_eq!(of_pool("www", Some("3f2a")), filled(POOL_IN_CONTAINER));
        assert_eq!(*of_script(Some("jobs.php")), *SCRIPT.replace("{script}", "jobs.php"));
        assert_eq!(*of_script(None), *NO_SCRIPT);
    }
}
