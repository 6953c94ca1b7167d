//! Rules that decide the group of a process: conditions on its names and a template for the group's name.
//! First match wins. The built-in rules need no configuration; they are in `builtin`.

use std::{borrow::Cow, sync::Arc};

use regex::{Captures, Regex};

use crate::collect::proc::Details;

mod builtin;

/// Characters of a group's name that are kept.
const NAME_CHARACTERS: usize = 80;

/// A property of a process that a rule can look at and a template can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Property {
    /// Kernel's name of the process, 15 bytes at most.
    Comm,
    /// Last part of the first argument, or the comm where there is none.
    Exe,
    /// Arguments joined by a space.
    Cmdline,
    /// Effective user.
    User,
    /// systemd unit.
    Unit,
    /// Container id.
    Container,
    /// `kernel` for threads of the kernel.
    Kind,
}

impl Property {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Comm, "comm"),
        (Self::Exe, "exe"),
        (Self::Cmdline, "cmdline"),
        (Self::User, "user"),
        (Self::Unit, "unit"),
        (Self::Container, "container"),
        (Self::Kind, "kind"),
    ];

    fn of(self, process: &Details) -> Option<&str> {
        match self {
            Self::Comm => Some(&process.comm),
            Self::Exe => {
                let file = process.exe.rsplit('/').next().unwrap_or_default();
                Some(if file.is_empty() { &process.comm } else { file })
            }
            Self::Cmdline => Some(&process.cmdline),
            Self::User => Some(&process.user),
            Self::Unit => process.unit.as_deref(),
            Self::Container => process.container.as_deref(),
            Self::Kind => process.kernel_thread.then_some("kernel"),
        }
    }
}

/// Why a rule cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// A pattern is no regular expression.
    #[error("rule `{rule}`: {source}")]
    Pattern {
        /// Name of the rule.
        rule: String,
        /// What is wrong with the pattern.
        source: regex::Error,
    },
    /// The template names something that no condition captures.
    #[error(
        "rule `{rule}`: the group name asks for {{{name}}}, which is neither a property nor captured by a condition"
    )]
    Template {
        /// Name of the rule.
        rule: String,
        /// What is between the braces.
        name: String,
    },
}

/// One rule.
#[derive(Debug)]
pub struct Rule {
    name: Arc<str>,
    conditions: Vec<(Property, Regex)>,
    template: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Text(String),
    Property(Property),
    Capture(String),
}

impl Rule {
    /// A rule with all of `conditions` (each pattern is unanchored) and a group name such as `php-fpm: {pool}`.
    ///
    /// # Errors
    /// [`RuleError`] for a bad pattern or an unknown name in braces.
    pub fn new(name: &str, conditions: &[(Property, &str)], template: &str) -> Result<Self, RuleError> {
        let conditions = conditions
            .iter()
            .map(|&(property, pattern)| Ok((property, Regex::new(pattern)?)))
            .collect::<Result<Vec<_>, regex::Error>>()
            .map_err(|source| RuleError::Pattern { rule: name.to_owned(), source })?;
        let template = parts(template, &conditions)
            .map_err(|unknown| RuleError::Template { rule: name.to_owned(), name: unknown })?;
        Ok(Self { name: name.into(), conditions, template })
    }

    /// The group's name when all conditions hold and all parts of the name are known.
    fn group(&self, process: &Details) -> Option<String> {
        let mut captured: Vec<Captures> = Vec::new();
        for (property, pattern) in &self.conditions {
            captured.push(pattern.captures(property.of(process)?)?);
        }
        let mut name = String::new();
        for part in &self.template {
            name.push_str(match part {
                Part::Text(text) => text,
                Part::Property(property) => property.of(process)?,
                Part::Capture(capture) => captured.iter().find_map(|captures| captures.name(capture))?.as_str(),
            });
        }
        Some(name.chars().take(NAME_CHARACTERS).collect::<String>().trim().to_owned()).filter(|name| !name.is_empty())
    }
}

fn parts(template: &str, conditions: &[(Property, Regex)]) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some((text, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or_else(|| after.to_owned())?;
        parts.push(Part::Text(text.to_owned()));
        let captures = |pattern: &Regex| pattern.capture_names().flatten().any(|capture| capture == name);
        if conditions.iter().any(|(_, pattern)| captures(pattern)) {
            parts.push(Part::Capture(name.to_owned()));
        } else if let Some(&(property, _)) = Property::ALL.iter().find(|(_, known)| *known == name) {
            parts.push(Part::Property(property));
        } else {
            return Err(name.to_owned());
        }
        rest = after;
    }
    parts.push(Part::Text(rest.to_owned()));
    Ok(parts)
}

/// Rules in the order in which they are tried.
#[derive(Debug)]
pub struct Rules {
    rules: Vec<Rule>,
    none: Arc<str>,
}

impl Default for Rules {
    /// The built-in rules.
    fn default() -> Self {
        let rules = builtin::RULES
            .iter()
            .map(|&(name, conditions, template)| Rule::new(name, conditions, template))
            .collect::<Result<_, _>>()
            .expect("the built-in rules are constants and a test compiles them");
        Self::new(rules)
    }
}

impl Rules {
    /// Rules to be tried in this order. A process that none of them takes goes to `{user} processes`.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self { rules, none: "user".into() }
    }

    /// Names of the group and of the rule that put the process there.
    pub fn group<'a>(&'a self, process: &Details) -> (Cow<'a, str>, &'a Arc<str>) {
        for rule in &self.rules {
            if let Some(group) = rule.group(process) {
                return (group.into(), &rule.name);
            }
        }
        (format!("{} processes", process.user).into(), &self.none)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn process(comm: &str, cmdline: &str) -> Details {
        Details {
            comm: comm.into(),
            exe: cmdline.split(' ').next().unwrap_or_default().into(),
            cmdline: cmdline.into(),
            user: "alice".into(),
            unit: None,
            container: None,
            kernel_thread: false,
            started_at: None,
        }
    }

    static BUILT_IN: std::sync::LazyLock<Rules> = std::sync::LazyLock::new(Rules::default);

    fn group(process: &Details) -> (String, String) {
        let (group, rule) = BUILT_IN.group(process);
        (group.into_owned(), rule.to_string())
    }

    #[test]
    fn well_known_programs_have_their_groups() {
        let cases = [
            ("php-fpm8.2", "php-fpm: pool www", "php-fpm: www", "php pool"),
            ("php-fpm", "php-fpm: pool my site", "php-fpm: my site", "php pool"),
            ("php-fpm8.2", "php-fpm: master process (/etc/php/8.2/fpm/php-fpm.conf)", "php-fpm: master", "php master"),
            ("php-fpm8.2", "/usr/sbin/php-fpm8.2 --nodaemonize", "php-fpm: master", "php master"),
            ("php8.2-fpm", "", "php-fpm: master", "php master"),
            ("grep", "grep php-fpm: pool www", "alice processes", "user"),
            ("apache2", "/usr/sbin/apache2 -k start", "apache", "apache"),
            ("httpd", "/usr/sbin/httpd -DFOREGROUND", "apache", "apache"),
            ("php", "php -S 127.0.0.1:8000 router.php", "php -S", "php server"),
            ("php8.2", "/usr/bin/php8.2 /srv/www/artisan queue:work --tries=3", "php: artisan", "php script"),
            ("php", "php -d memory_limit=1G -n bin/console messenger:consume", "php: console", "php script"),
            ("php", "php -q -f cron.php", "php: cron.php", "php script"),
            ("worker.php", "/usr/bin/php /srv/worker.php", "php: worker.php", "php script"),
            ("php", "php -r echo 1;", "php cli", "php cli"),
            ("php", "php", "php cli", "php cli"),
            ("php-cgi", "/usr/bin/php-cgi", "php cgi: alice", "php cgi"),
            ("mariadbd", "/usr/sbin/mariadbd", "mariadbd", "database"),
            ("postgres", "postgres: walwriter", "postgres", "database"),
            ("redis-server", "/usr/bin/redis-server 127.0.0.1:6379", "redis-server", "database"),
            ("java", "/usr/bin/java -Xms1g org.elasticsearch.bootstrap.Elasticsearch", "elasticsearch", "search"),
            ("beam.smp", "/usr/lib/erlang/bin/beam.smp -sname rabbit", "rabbitmq", "queue"),
            ("nginx", "nginx: worker process", "nginx", "web server"),
            ("node_exporter", "/usr/bin/node_exporter --web", "exporters", "exporter"),
            ("prometheus-node", "/usr/bin/prometheus-node-exporter", "exporters", "exporter"),
            ("containerd-shim", "/usr/bin/containerd-shim-runc-v2", "containerd", "container engine"),
            ("sshd", "sshd: alice@pts/0", "sshd", "ssh"),
            ("systemd-journal", "/lib/systemd/systemd-journald", "systemd", "systemd"),
            ("cron", "/usr/sbin/cron -f", "cron", "daemon"),
            ("bash", "-bash", "alice processes", "user"),
            ("", "", "alice processes", "user"),
        ];
        for (comm, cmdline, name, rule) in cases {
            assert_eq!(group(&process(comm, cmdline)), (name.to_owned(), rule.to_owned()), "{comm} {cmdline}");
        }
    }

    #[test]
    fn containers_units_and_the_kernel_have_their_groups() {
        let unit = |unit: &str| Details { unit: Some(unit.into()), ..process("thing", "/usr/bin/thing") };
        assert_eq!(group(&unit("thing.service")).0, "thing.service");
        assert_eq!(group(&unit("user@1000.service")).0, "alice processes");
        assert_eq!(group(&unit("session-3.scope")).0, "alice processes");
        let contained = Details { container: Some("3f2a9c0d4e5b".into()), ..unit("docker.service") };
        assert_eq!(group(&contained).0, "container 3f2a9c0d4e5b");
        let pool = Details { cmdline: "php-fpm: pool www".into(), ..contained };
        assert_eq!(group(&pool).0, "php-fpm: www (3f2a9c0d4e5b)");
        let kernel = Details { kernel_thread: true, ..process("kthreadd", "") };
        assert_eq!(group(&kernel), ("kernel threads".to_owned(), "kernel".to_owned()));
    }

    #[test]
    fn the_first_rule_wins_and_a_name_that_is_not_known_is_no_match() {
        let rules = Rules::new(vec![
            Rule::new("unit", &[(Property::Comm, "a")], "in {unit}").unwrap(),
            Rule::new("both", &[(Property::Comm, "^a"), (Property::Cmdline, "(?P<what>x+)")], "{what} of {user}")
                .unwrap(),
            Rule::new("any", &[], "{exe}").unwrap(),
        ]);
        let name = |process: &Details| rules.group(process).0.into_owned();
        assert_eq!(name(&process("ab", "/bin/ab xx")), "xx of alice");
        assert_eq!(name(&process("ab", "/bin/ab y")), "ab");
        assert_eq!(name(&process("zombie", "")), "zombie");
    }

    #[test]
    fn wrong_rules_say_what_is_wrong() {
        let error = Rule::new("r", &[(Property::Comm, "(")], "x").unwrap_err();
        assert!(error.to_string().starts_with("rule `r`: "));
        for (template, name) in [("{nope}", "nope"), ("{pool", "pool"), ("a{}", "")] {
            match Rule::new("r", &[(Property::Comm, ".")], template).unwrap_err() {
                RuleError::Template { name: unknown, .. } => assert_eq!(unknown, name),
                other => panic!("{other}"),
            }
        }
    }

    proptest! {
        #[test]
        fn every_process_has_one_group_with_a_short_name(
            comm in "\\PC{0,15}", cmdline in ".{0,200}", unit in proptest::option::of(".{0,300}"), kernel_thread: bool
        ) {
            let details = Details { unit: unit.map(Arc::from), kernel_thread, ..process(&comm, &cmdline) };
            let (name, rule) = group(&details);
            prop_assert!(!name.is_empty() && name.chars().count() <= NAME_CHARACTERS && !rule.is_empty());
            prop_assert_eq!(group(&details), (name, rule));
        }
    }
}
