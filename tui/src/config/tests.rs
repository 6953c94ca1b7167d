//! Claims about the order in which settings win, and about what is said of those that cannot be used.

use super::*;

fn settings(text: &str) -> Result<Settings, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    std::fs::write(&path, text).unwrap();
    let arguments = SettingArgs { config: Some(path), ..SettingArgs::default() };
    load(&arguments, &Environment::default())
        .map_err(|error| error.to_string().replace(&*folder.path().to_string_lossy(), ""))
}

#[test]
fn the_default_file_sets_the_defaults() {
    assert_eq!(Settings { file: None, ..settings(DEFAULT_FILE).unwrap() }, Settings::default());
}

#[test]
fn the_default_file_shows_every_default_as_it_is() {
    let shown = DEFAULT_FILE.lines().filter(|line| !line.contains("theme") && !line.contains("ctrl"));
    let set: String = shown
        .map(|line| format!("{}\n", line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line)))
        .collect();
    assert!(set.contains("\ninterval = "), "{set}");
    assert_eq!(Settings { file: None, ..settings(&set).unwrap() }, Settings::default());
}

#[test]
fn all_settings_are_read() {
    let read = settings(
        "interval = \"500ms\"\nhz = 0\nbudget = \"0.5%\"\ntrace_limit = \"2m\"\ntheme = \"light\"\ncolor = \"256\"\nascii = true\nmouse = false\nphp = false\nphp_owners = [\"root\", \"4321\"]\nread_only = true\nshow_secrets = true\npast = \"90m\"\npast_size = \"1M\"\n[memory]\npss_budget = \"0\"\npss_read_limit = \"1s\"\n[routes]\nrules = [\"/user/{name}\"]\nparameters = [\"do\"]\n[flame]\nfold = [\"lib/*\"]\nfolded = true\n[keys]\n\"ctrl+f\" = \"filter\"\n",
    )
    .unwrap();
    let expected = Settings {
        interval: Duration::from_millis(500),
        hz: 0,
        budget: 0.005,
        trace_limit: Duration::from_secs(120),
        past: RingLimits { span: Duration::from_secs(90 * 60), bytes: 1 << 20 },
        theme: Some("light".into()),
        color: Color::Ansi256,
        ascii: true,
        mouse: false,
        php: false,
        php_owners: vec![0, 4321],
        read_only: Some(ReadOnly::File),
        secrets: Secrets::Shown,
        pss_budget: 0.0,
        pss_read_limit: Duration::from_secs(1),
        routes: RouteSettings { rules: vec!["/user/{name}".into()], parameters: vec!["do".into()] },
        fold: Fold::new(["lib/*"]),
        folded: true,
        groups: GroupSettings::default(),
        keys: vec![KeySetting { key: "ctrl+f".into(), action: "filter".into(), line: 25 }],
        sudo_uid: None,
        file: read.file.clone(),
    };
    assert_eq!(read, expected);
    assert_eq!(settings("interval = 2").unwrap().interval, Duration::from_secs(2));
    assert_eq!(settings("interval = 0.5").unwrap().interval, Duration::from_millis(500));
}

#[test]
fn errors_name_file_line_key_and_the_nearest_name() {
    let cases = [
        ("\nintervall = 2", "/config.toml:2: unknown key `intervall`; did you mean `interval`?"),
        ("colour = \"auto\"", "/config.toml:1: unknown key `colour`; did you mean `color`?"),
        (
            "zzzzzz = 1",
            "/config.toml:1: unknown key `zzzzzz`; known are interval, hz, budget, trace_limit, theme, color, ascii, mouse, php, php_owners, read_only, show_secrets, past, past_size, memory, routes, flame, groups, keys",
        ),
        (
            "hz = 1\ncolor = \"true\"",
            "/config.toml:2: color: unknown value `true`; known are auto, always, never, 16, 256, truecolor",
        ),
        ("color = \"allways\"", "/config.toml:1: color: unknown value `allways`; did you mean `always`?"),
        ("hz = 2000", "/config.toml:1: hz: must be between 0 and 1000"),
        ("budget = \"200%\"", "/config.toml:1: budget: must be above 0% and up to 100%"),
        ("budget = \"2\"", "/config.toml:1: budget: expected a share such as 2% or 0.5%"),
        ("[memory]\npss_budget = \"2\"", "/config.toml:2: pss_budget: expected a share such as 2% or 0.5%"),
        ("[memory]\npss_read_limit = \"1m\"", "/config.toml:2: pss_read_limit: must be between 1ms and 10s"),
        ("[memory]\npss = true", "/config.toml:2: unknown key `pss`; known are pss_budget, pss_read_limit"),
        (
            "interval = \"1 parsec\"",
            "/config.toml:1: interval: expected a duration such as 500ms, 2s, 1m or a number of seconds",
        ),
        ("interval = \"1ms\"", "/config.toml:1: interval: must be between 100ms and 1h"),
        (
            "interval = true",
            "/config.toml:1: interval: expected a duration such as \"500ms\", \"2s\" or a number of seconds",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(settings(text).unwrap_err(), expected, "{text}");
    }
    let unknown = settings("php_owners = [\"root\", \"no such user\"]").unwrap_err();
    assert!(unknown.contains("php_owners: there is no user `no such user`"), "{unknown}");
    for text in [
        "mouse = 1",
        "hz = -1",
        "hz = \"x\"",
        "[keys]\na = 1",
        "x",
        "mouse = true\nmouse = true",
        "[keys",
        "theme = \"a\nb\"",
    ] {
        let error = settings(text).unwrap_err();
        assert!(error.starts_with("/config.toml:") && error.len() > 20, "{text}: {error}");
    }
}

#[test]
fn a_key_that_does_not_work_is_named_with_its_line() {
    let read = settings("hz = 1\n[keys]\na = \"x\"\n\"ctrl+b\" = \"y\"\n").unwrap();
    let file = read.file.clone().unwrap().display().to_string();
    assert_eq!(read.key_error("ctrl+b", &"no").to_string(), format!("{file}:4: no"));
}

#[test]
fn arguments_win_over_the_environment_and_that_over_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    std::fs::write(&path, "color = \"16\"\nhz = 7\ninterval = 3\nmouse = true\n").unwrap();
    let environment = Environment { config: Some(path.clone().into()), no_color: true, ..Environment::default() };
    let read = load(&SettingArgs::default(), &environment).unwrap();
    assert_eq!((read.color, read.hz, read.file.as_deref()), (Color::Never, 7, Some(&*path)));
    let arguments =
        SettingArgs { color: Some(Color::Always), hz: Some(5), no_mouse: true, no_php: true, ..SettingArgs::default() };
    let read = load(&arguments, &environment).unwrap();
    assert_eq!((read.color, read.hz, read.interval), (Color::Always, 5, Duration::from_secs(3)));
    assert!(!read.mouse && !read.php);
}

#[test]
fn files_are_looked_for_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, hz: u32| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("hz = {hz}")).unwrap();
    };
    write("home/.config/tusktop/config.toml", 1);
    write("xdg/tusktop/config.toml", 2);
    let mut environment = Environment { home: Some(folder.path().join("home").into()), ..Environment::default() };
    let hz = |environment: &Environment| load(&SettingArgs::default(), environment).unwrap().hz;
    assert_eq!(hz(&environment), 1);
    environment.config_home = Some(folder.path().join("xdg").into());
    assert_eq!(hz(&environment), 2);
    environment.config = Some(folder.path().join("missing.toml").into());
    let error = load(&SettingArgs::default(), &environment).unwrap_err();
    assert!(matches!(error, ConfigError::Read { .. }) && error.to_string().contains("missing.toml"));
}
