//! `[groups]` of the configuration: the rules in the file, the import of process-exporter rules, and the [`Rules`] made of
//! both.

use std::path::{Path, PathBuf};

use regex::Regex;
use serde::Deserialize;
use toml::Spanned;

use super::{ConfigError, Settings, file::line_of};
use crate::{
    rules::{Condition, Origin, Property, Rule, RuleError, Rules, process_exporter},
    system::small_file,
};

/// How processes are grouped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSettings {
    /// Rules of the configuration, in order.
    pub rules: Vec<RuleSetting>,
    /// A configuration of process-exporter, whose rules come after these.
    pub import: Option<PathBuf>,
    /// Children of what an imported rule takes follow, as by default in process-exporter.
    pub import_children: bool,
    /// The built-in rules come last.
    pub built_in: bool,
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self { rules: Vec::new(), import: None, import_children: true, built_in: true }
    }
}

/// One `[[groups.rules]]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuleSetting {
    /// Name of the group.
    pub name: String,
    /// Properties and what they have to be one of.
    pub one_of: Vec<(Property, Vec<String>)>,
    /// Patterns that the command line has to match, all of them.
    pub cmdline: Vec<String>,
    /// Whether children follow.
    pub children: bool,
    /// Lines in the file: of the rule, of its name, of its patterns.
    pub lines: [usize; 3],
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Toml {
    import: Option<PathBuf>,
    import_children: Option<bool>,
    built_in: Option<bool>,
    #[serde(default)]
    rules: Vec<Spanned<RuleToml>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleToml {
    name: Option<Spanned<String>>,
    comm: Option<Texts>,
    exe: Option<Texts>,
    cmdline: Option<Spanned<Texts>>,
    user: Option<Texts>,
    unit: Option<Texts>,
    container: Option<Texts>,
    cgroup: Option<Texts>,
    #[serde(default)]
    children: bool,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a text or a list of texts")]
enum Texts {
    One(String),
    Many(Vec<String>),
}

impl Texts {
    fn list(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::Many(texts) => texts,
        }
    }
}

/// What the file sets.
pub(super) fn read(content: Toml, path: &Path, text: &str) -> Result<GroupSettings, ConfigError> {
    let default = GroupSettings::default();
    let rules = content.rules.into_iter().map(|rule| {
        let line = line_of(text, &rule.span());
        let setting = rule_setting(rule, text);
        setting.map_err(|message| ConfigError::Content { path: path.to_owned(), line, message })
    });
    Ok(GroupSettings {
        rules: rules.collect::<Result<_, _>>()?,
        // A path is meant from where it is written.
        import: content.import.map(|import| path.parent().unwrap_or(Path::new("")).join(import)),
        import_children: content.import_children.unwrap_or(default.import_children),
        built_in: content.built_in.unwrap_or(default.built_in),
    })
}

fn rule_setting(rule: Spanned<RuleToml>, text: &str) -> Result<RuleSetting, String> {
    let line = line_of(text, &rule.span());
    let rule = rule.into_inner();
    let line_of_name = rule.name.as_ref().map_or(line, |name| line_of(text, &name.span()));
    let line_of_cmdline = rule.cmdline.as_ref().map_or(line, |cmdline| line_of(text, &cmdline.span()));
    let selectors = [
        (Property::Comm, "comm", rule.comm),
        (Property::Exe, "exe", rule.exe),
        (Property::User, "user", rule.user),
        (Property::Unit, "unit", rule.unit),
        (Property::Container, "container", rule.container),
        (Property::Cgroup, "cgroup", rule.cgroup),
    ];
    let mut one_of = Vec::new();
    for (property, key, texts) in selectors {
        let Some(texts) = texts.map(Texts::list) else { continue };
        if texts.is_empty() {
            return Err(format!("{key}: an empty list matches no process; leave it out"));
        }
        one_of.push((property, texts));
    }
    Ok(RuleSetting {
        name: rule.name.map_or_else(|| "{exe}".to_owned(), Spanned::into_inner),
        one_of,
        cmdline: rule.cmdline.map(|cmdline| cmdline.into_inner().list()).unwrap_or_default(),
        children: rule.children,
        lines: [line, line_of_name, line_of_cmdline],
    })
}

impl Settings {
    /// The rules that these settings ask for: those of the file, those of process-exporter, the built-in ones.
    ///
    /// # Errors
    /// [`ConfigError`] for what is wrong in either file, with its line.
    pub fn rules(&self) -> Result<Rules, ConfigError> {
        let path = self.file.clone().unwrap_or_default();
        let mut rules = Vec::new();
        for setting in &self.groups.rules {
            rules.push(rule(setting, &path)?);
        }
        if let Some(import) = &self.groups.import {
            let bytes = small_file::read(import, self.sudo_uid)
                .map_err(|source| ConfigError::Read { path: import.clone(), source })?;
            let wrong = |line, message| ConfigError::Content { path: import.clone(), line, message };
            let text = String::from_utf8(bytes).map_err(|error| {
                let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
                wrong(line, "this is not UTF-8, and neither tusktop nor process-exporter reads it".into())
            })?;
            let imported = process_exporter::rules(&import.to_string_lossy(), &text)
                .map_err(|error| wrong(error.line, error.message))?;
            rules.extend(imported.into_iter().map(|rule| rule.children(self.groups.import_children)));
        }
        Ok(Rules::new(rules, self.groups.built_in))
    }
}

fn rule(setting: &RuleSetting, path: &Path) -> Result<Rule, ConfigError> {
    let [line, line_of_name, line_of_cmdline] = setting.lines;
    let wrong = |line, message| ConfigError::Content { path: path.to_owned(), line, message };
    let mut conditions: Vec<Condition> =
        setting.one_of.iter().map(|(property, texts)| Condition::one_of(*property, texts.iter().cloned())).collect();
    for pattern in &setting.cmdline {
        let compiled = Regex::new(pattern).map_err(|error| {
            let text = error.to_string();
            let what = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            wrong(line_of_cmdline, format!("cmdline: bad regular expression `{pattern}`: {what}"))
        })?;
        conditions.push(Condition::pattern(Property::Cmdline, compiled));
    }
    let file = path.to_string_lossy();
    let origin = Origin::File { file: (&*file).into(), line };
    let rule = Rule::with(Origin::short(&file, line), origin, conditions, &setting.name);
    rule.map(|rule| rule.children(setting.children)).map_err(|error| {
        let message = match error {
            RuleError::Template { name, known } => {
                format!("name: {{{name}}} is unknown: it is neither captured by cmdline nor one of {known}")
            }
            RuleError::Pattern { source, .. } => source.to_string(),
        };
        wrong(line_of_name, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::SettingArgs,
        config::{Environment, load},
    };

    struct Files(tempfile::TempDir);

    impl Files {
        fn new(config: &str, yaml: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("c.toml"), config).unwrap();
            std::fs::write(folder.path().join("pe.yml"), yaml).unwrap();
            Self(folder)
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn rules(&self, arguments: SettingArgs) -> Result<Rules, String> {
            let arguments = SettingArgs { config: Some(self.path("c.toml")), ..arguments };
            let settings = load(&arguments, &Environment::default());
            let rules = settings.and_then(|settings| settings.rules());
            rules.map_err(|error| error.to_string().replace(&*self.0.path().to_string_lossy(), ""))
        }
    }

    fn names(rules: &Rules) -> Vec<(String, String)> {
        let own = rules.all()[..rules.own()].iter();
        own.map(|rule| (rule.name().to_string(), rule.template().to_owned())).collect()
    }

    #[test]
    fn rules_keep_their_order_and_the_import_comes_after_them() {
        let files = Files::new(
            "[groups]\nimport = \"pe.yml\"\n[[groups.rules]]\ncomm = \"a\"\n\n[[groups.rules]]\nname = \"b {1}\"\ncmdline = ['x(.)']\nchildren = true\n",
            "process_names:\n- comm: [z]\n",
        );
        let rules = files.rules(SettingArgs::default()).unwrap();
        let expected = [("c.toml:3", "{exe}"), ("c.toml:6", "b {1}"), ("pe.yml:2", "{{.ExeBase}}")];
        assert_eq!(names(&rules), expected.map(|(name, template)| (name.to_owned(), template.to_owned())));
        let children: Vec<bool> = rules.all()[..3].iter().map(Rule::has_children).collect();
        assert_eq!(children, [false, true, true]);
        assert!(rules.all().len() > 10, "the built-in ones come last");
        assert_eq!(rules.all()[0].origin().to_string(), format!("{}:3", files.path("c.toml").display()));
    }

    #[test]
    fn the_command_line_names_another_import_and_switches_are_kept() {
        let files = Files::new(
            "[groups]\nimport = \"missing.yml\"\nimport_children = false\nbuilt_in = false\n",
            "process_names:\n- comm: [z]\n",
        );
        assert!(files.rules(SettingArgs::default()).unwrap_err().contains("/missing.yml"));
        let arguments = SettingArgs { process_exporter_config: Some(files.path("pe.yml")), ..SettingArgs::default() };
        let rules = files.rules(arguments).unwrap();
        assert_eq!((rules.own(), rules.all().len(), rules.any_children()), (1, 2, false));
    }

    #[test]
    fn mistakes_are_named_with_file_and_line() {
        for (config, yaml, expected) in [
            ("[[groups.rules]]\ncom = \"a\"", "", "/c.toml:2: unknown key `com`; did you mean `comm`?"),
            ("[groups]\nbuiltin = true", "", "/c.toml:2: unknown key `builtin`; did you mean `built_in`?"),
            (
                "[[groups.rules]]\nexe = \"a\"\ncomm = []",
                "",
                "/c.toml:1: comm: an empty list matches no process; leave it out",
            ),
            ("[[groups.rules]]\nunit = 1", "", "/c.toml:2: unit: expected a text or a list of texts"),
            (
                "[[groups.rules]]\nname = 'x'\ncmdline = ['a', '(b']",
                "",
                "/c.toml:3: cmdline: bad regular expression `(b`: unclosed group",
            ),
            ("[[groups.rules]]\ncomm = 'x'\nname = '{1}'", "", "/c.toml:3: name: {1} is unknown: "),
            ("[groups]\nimport = 'pe.yml'", "process_names:\n- name: x\n", "/pe.yml:2: no matchers provided"),
            ("[groups]\nimport = 'pe.yml'", "process_names:\n- comm: [x\n", "/pe.yml:"),
        ] {
            let error = Files::new(config, yaml).rules(SettingArgs::default()).unwrap_err();
            assert!(error.starts_with(expected), "{config} {yaml}: {error}");
        }
        let files = Files::new("[groups]\nimport = 'pe.yml'", "");
        std::fs::write(files.path("pe.yml"), b"a\n\n\xff").unwrap();
        assert!(files.rules(SettingArgs::default()).unwrap_err().starts_with("/pe.yml:3: this is not UTF-8"));
    }
}
