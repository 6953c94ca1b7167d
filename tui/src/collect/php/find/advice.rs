//! What to type so that a PHP server can be traced exactly: from facts about the process to the reason and the commands. Pure:
//! `masters` reads the process.
//!
//! The facts contain names that other users choose, and root will paste these lines into a shell. So a name is repeated only if
//! it consists of letters, digits and a few marks.

use std::path::Path;

use super::{discover::Sapi, runtime::VARIABLE};

/// What is known of a process that was started as PHP or loads it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub sapi: Sapi,
    /// The program that it runs, which for a library is not the image.
    pub program: &'a Path,
    /// Whether function probes are live; `None` when not known.
    pub dtrace: Option<bool>,
    /// Why `dtrace` is not known.
    pub unknown: &'a str,
    /// Its cgroup's systemd unit.
    pub unit: Option<&'a str>,
    /// The unit is one of a user's own systemd.
    pub of_user: bool,
    pub container: Option<&'a str>,
    /// Name of its parent process, as the kernel has it.
    pub parent: &'a str,
    /// Script of a command line PHP.
    pub script: Option<&'a str>,
}

/// Why something does not work, and what to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Advice {
    /// Why not; empty when it works.
    pub reason: String,
    /// What to type, line by line; empty when nothing helps.
    pub hint: Vec<String>,
}

/// Why an image without function probes cannot be traced exactly, and whose builds can.
pub(crate) fn without_probes() -> Advice {
    Advice {
        reason: "this build has no USDT probes".to_owned(),
        hint: [
            "With probes: Debian 11 and 12 (not arm64), Ubuntu 22.04, Fedora, RHEL,",
            "Remi, or your own build with --enable-dtrace. Without: Debian 13,",
            "the official docker images, Alpine, packages.sury.org from PHP 8.3 on.",
            "Requests, sampling, exceptions and compiles do not need them.",
        ]
        .map(str::to_owned)
        .to_vec(),
    }
}

/// What keeps this process from being traced exactly, and what to type.
pub(crate) fn exact(facts: &Facts<'_>) -> Advice {
    match facts.dtrace {
        Some(true) => Advice::default(),
        None => Advice { reason: facts.unknown.to_owned(), hint: Vec::new() },
        Some(false) => {
            let mut hint = steps(facts);
            hint.extend(SIDE_EFFECTS.map(str::to_owned));
            Advice { reason: format!("started without {VARIABLE}=1"), hint }
        }
    }
}

const SIDE_EFFECTS: [&str; 3] = [
    "Side effects of the variable: no JIT (PHP prints a warning at",
    "every start); each PHP call uses C stack, so very deep recursion can",
    "crash PHP; about 10 ns more per call, even when not traced.",
];

fn steps(facts: &Facts<'_>) -> Vec<String> {
    if facts.container.is_some_and(is_engine_id) {
        return vec![
            format!("start the container again: docker run -e {VARIABLE}=1 ..."),
            format!("or, in a compose file, `environment: [{VARIABLE}=1]` and"),
            "docker compose up -d (a restart keeps the old environment)".to_owned(),
        ];
    }
    if facts.parent.starts_with("supervisord") {
        return vec![
            format!("in its [program:...] section: environment={VARIABLE}=\"1\""),
            "supervisorctl update   (restart alone keeps the old environment)".to_owned(),
        ];
    }
    let name = facts.program.file_name().and_then(|name| name.to_str()).and_then(plain);
    // Debian's own unit starts Apache by apachectl, which reads this file.
    if facts.sapi == Sapi::Apache && name == Some("apache2") {
        let restart = match facts.unit.and_then(service) {
            Some(unit) => format!("systemctl restart {}", quoted(unit)),
            None => "apachectl stop; apachectl start".to_owned(),
        };
        return vec![
            format!("echo 'export {VARIABLE}=1' >> /etc/apache2/envvars"),
            restart,
            "(a reload or graceful restart keeps the old environment)".to_owned(),
        ];
    }
    if let Some(unit) = facts.unit.filter(|unit| is_service(unit)) {
        let systemctl = if facts.of_user { "systemctl --user" } else { "systemctl" };
        let unit = plain(unit).map_or_else(|| "UNIT".to_owned(), quoted);
        return vec![
            format!("{systemctl} edit {unit}"),
            "    [Service]".to_owned(),
            format!("    Environment={VARIABLE}=1"),
            format!("{systemctl} restart {unit}"),
            "(put the two lines into the editor; a reload keeps the old environment)".to_owned(),
        ];
    }
    match facts.sapi {
        Sapi::Cli => {
            let script = facts.script.and_then(plain_path).unwrap_or("script.php");
            let name = name.unwrap_or("php");
            vec![
                format!("start it again: {VARIABLE}=1 {name} {script} ..."),
                format!("or observe one run from its start: tusktop snap -- {name} {script} ..."),
            ]
        }
        Sapi::Cgi => vec![
            format!("set {VARIABLE}=1 in the environment that starts php-cgi (mod_fcgid:"),
            format!("`FcgidInitialEnv {VARIABLE} 1`), then restart that server"),
        ],
        Sapi::Fpm | Sapi::Apache | Sapi::Embed => {
            let name = name.unwrap_or("it");
            vec![
                format!("stop {name}, then start it with the variable:"),
                format!("    {VARIABLE}=1 {name} ..."),
                "(a reload keeps the old environment; a pool's `env[...]` comes too late)".to_owned(),
            ]
        }
    }
}

/// docker, podman and kubernetes name containers by digits, of which the short form is kept.
fn is_engine_id(container: &str) -> bool {
    container.len() == 12 && container.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_service(unit: &str) -> bool {
    unit.ends_with(".service")
}

fn service(unit: &str) -> Option<&str> {
    plain(unit).filter(|unit| is_service(unit))
}

/// A name that a shell takes as it is, but for the backslash of an escaped unit name.
fn plain(name: &str) -> Option<&str> {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"._@:+-\\".contains(&byte);
    Some(name).filter(|name| !name.is_empty() && !name.starts_with('-') && name.bytes().all(harmless))
}

fn plain_path(path: &str) -> Option<&str> {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"._@:+-/".contains(&byte);
    Some(path).filter(|path| !path.is_empty() && !path.starts_with('-') && path.bytes().all(harmless))
}

fn quoted(unit: &str) -> String {
    if unit.contains('\\') { format!("'{unit}'") } else { unit.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(sapi: Sapi, program: &'static str) -> Facts<'static> {
        Facts {
            sapi,
            program: Path::new(program),
            dtrace: Some(false),
            unknown: "",
            unit: None,
            of_user: false,
            container: None,
            parent: "systemd",
            script: None,
        }
    }

    fn typed(facts: &Facts<'_>) -> String {
        let advice = exact(facts);
        assert!(advice.reason.contains("USE_ZEND_DTRACE=1"));
        assert!(advice.hint.iter().all(|line| line.len() <= 74), "{:#?}", advice.hint);
        let text = advice.hint.join("\n");
        assert!(text.contains("no JIT") && text.contains("recursion"), "side effects: {text}");
        text
    }

    #[test]
    fn a_unit_gets_its_drop_in_and_a_restart() {
        let text = typed(&Facts { unit: Some("php8.2-fpm.service"), ..facts(Sapi::Fpm, "/usr/sbin/php-fpm8.2") });
        assert!(text.starts_with("systemctl edit php8.2-fpm.service\n"), "{text}");
        assert!(
            text.contains("    [Service]\n    Environment=USE_ZEND_DTRACE=1\nsystemctl restart php8.2-fpm.service\n")
        );
        let queue = Facts { unit: Some("queue.service"), of_user: true, ..facts(Sapi::Cli, "/usr/bin/php8.2") };
        assert!(typed(&queue).contains("systemctl --user restart queue.service"));
        let escaped = Facts { unit: Some(r"php\x2dfpm.service"), ..facts(Sapi::Fpm, "/usr/sbin/php-fpm") };
        assert!(typed(&escaped).contains(r"systemctl restart 'php\x2dfpm.service'"));
    }

    #[test]
    fn apache_gets_its_line_and_a_full_restart() {
        let apache = Facts { unit: Some("apache2.service"), ..facts(Sapi::Apache, "/usr/sbin/apache2") };
        let text = typed(&apache);
        assert!(text.starts_with("echo 'export USE_ZEND_DTRACE=1' >> /etc/apache2/envvars\nsystemctl restart apache2"));
        assert!(text.contains("graceful"));
        assert!(typed(&Facts { unit: None, ..apache }).contains("apachectl stop"));
        let httpd = Facts { unit: Some("httpd.service"), ..facts(Sapi::Apache, "/usr/sbin/httpd") };
        assert!(typed(&httpd).starts_with("systemctl edit httpd.service\n"), "it has no envvars");
    }

    #[test]
    fn who_keeps_it_running_decides() {
        let fpm = facts(Sapi::Fpm, "/usr/local/sbin/php-fpm");
        let docker = Facts { container: Some("3f2a9c0d4e5b"), unit: Some("docker.service"), ..fpm };
        assert!(typed(&docker).contains("docker run -e USE_ZEND_DTRACE=1"));
        // A container with a systemd of its own.
        let lxc = Facts { container: Some("web"), unit: Some("php8.2-fpm.service"), ..fpm };
        assert!(typed(&lxc).starts_with("systemctl edit"));
        let supervisor = Facts { parent: "supervisord", unit: Some("supervisor.service"), ..fpm };
        assert!(typed(&supervisor).contains("environment=USE_ZEND_DTRACE=\"1\""));
        assert!(typed(&fpm).contains("USE_ZEND_DTRACE=1 php-fpm ..."));
        let login = Facts { unit: Some("session-3.scope"), ..fpm };
        assert!(typed(&login).starts_with("stop php-fpm"));
        let script = Facts { script: Some("/srv/a.php"), ..facts(Sapi::Cli, "/usr/bin/php8.2") };
        assert!(typed(&script).contains("tusktop snap -- php8.2 /srv/a.php"));
        assert!(typed(&facts(Sapi::Cgi, "/usr/bin/php-cgi")).contains("FcgidInitialEnv"));
    }

    #[test]
    fn a_hostile_name_is_not_repeated() {
        let hostile = "x;rm -rf $HOME #.service";
        let text = typed(&Facts { unit: Some(hostile), ..facts(Sapi::Fpm, "/usr/sbin/php-fpm") });
        assert!(!text.contains("rm -rf") && text.contains("systemctl edit UNIT"), "{text}");
        let text = typed(&Facts { script: Some("$(reboot).php"), ..facts(Sapi::Cli, "/tmp/php`id`") });
        assert!(!text.contains("reboot") && !text.contains("`id`"), "{text}");
        assert!(plain("-e").is_none() && plain("").is_none() && plain("a\u{202e}b").is_none());
    }

    #[test]
    fn what_works_needs_nothing_and_what_is_unknown_says_why() {
        let fpm = facts(Sapi::Fpm, "/usr/sbin/php-fpm");
        assert_eq!(exact(&Facts { dtrace: Some(true), ..fpm }), Advice::default());
        let unknown = exact(&Facts { dtrace: None, unknown: "no permission", ..fpm });
        assert_eq!((&*unknown.reason, unknown.hint.len()), ("no permission", 0));
        let advice = without_probes();
        assert!(advice.reason.contains("USDT") && advice.hint.join(" ").contains("Debian 13"));
    }
}
