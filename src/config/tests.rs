use super::*;

fn resolve(flags: &[(&str, &str)], env: &[(&str, &str)], file: &str) -> Result<Config, ConfigError> {
    let mut partial = Partial::default();
    for (flag, value) in flags {
        partial.set(Setting::of(flag).unwrap(), *value);
    }
    let env = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
    Config::resolve(partial, env, Some(("flipgate.toml".into(), file.to_owned())))
}

fn messages(file: &str) -> Vec<String> {
    match resolve(&[], &[], file) {
        Ok(_) => Vec::new(),
        Err(error) => error.to_string().lines().map(str::to_owned).collect(),
    }
}

#[test]
fn nothing_given_is_the_default() {
    let config = Config::resolve(Partial::default(), |_| None, None).unwrap();
    assert_eq!(config.store.url, None);
    assert_eq!(
        (config.store.prefix.as_str(), config.store.state_prefix.as_str()),
        ("/flipgate", "/flipgate.state")
    );
    assert_eq!(config.admin.address, Some(([127, 0, 0, 1], 8182).into()));
    assert_eq!((config.health, config.require_table), (None, None));
    assert_eq!(config.drain_delay, Duration::from_secs(5));
    assert_eq!(config.limits.head_bytes, 65_536);
    assert!(config.workers >= 1 && !config.default_listener);
}

#[test]
fn every_default_can_be_read() {
    for setting in SETTINGS.iter().filter(|setting| !setting.default.is_empty()) {
        let config = resolve(&[(setting.flag, setting.default)], &[], "");
        assert_eq!(config, Config::resolve(Partial::default(), |_| None, None), "{}", setting.flag);
        assert!(setting.table.is_empty() || TABLES.contains(&setting.table));
    }
}

#[test]
fn flag_then_variable_then_file_then_default() {
    let file = "drain-delay = '1s'\n[log]\nlog-level = 'warn'\n";
    let env = [("FLIPGATE_DRAIN_DELAY", "2s"), ("FLIPGATE_LOG_LEVEL", " ")];
    let delay = |config: Result<Config, ConfigError>| config.unwrap().drain_delay.as_secs();
    assert_eq!(delay(resolve(&[("drain-delay", "3s")], &env, file)), 3);
    assert_eq!(delay(resolve(&[], &env, file)), 2);
    assert_eq!(delay(resolve(&[], &[], file)), 1);
    assert_eq!(resolve(&[], &env, file).unwrap().log.level, "warn");
}

#[test]
fn a_whole_file() {
    let config = resolve(
        &[("listener", "https=[::1]:8443")],
        &[("FLIPGATE_SEAL_KEY_FILE", "/a, /b"), ("FLIPGATE_LISTENER", "admin=off")],
        r#"
workers = 4
data_dir = "/data"
default-listener = true
require-table = "30s"

[store]
store = "etcd://10.0.0.1:2379,10.0.0.2:2379"
prefix = "vulcand"
etcd-user = "flipgate"
etcd-password-file = "/run/secrets/etcd"
seal-key-file = ["/c"]

[listeners]
http = ":8080"
https = "off"

[admin]
admin = "0.0.0.0:8182"
admin-trusted = ["10.0.0.0/8", "192.168.1.1"]

[limits]
max-head-bytes = "32KiB"
max-connections = 1_000

[access_log]
access-log = "/var/log/access.log"
access-log-format = "text"
"#,
    )
    .unwrap();
    assert_eq!(config.workers, 4);
    assert_eq!(config.data_dir, PathBuf::from("/data"));
    assert!(config.default_listener);
    assert_eq!(config.require_table, Some(Duration::from_secs(30)));
    assert_eq!(config.store.url.as_deref(), Some("etcd://10.0.0.1:2379,10.0.0.2:2379"));
    assert_eq!(
        config.store.etcd_user_and_password_file,
        Some(("flipgate".into(), "/run/secrets/etcd".into()))
    );
    assert_eq!(config.store.seal_key_files, [PathBuf::from("/a"), PathBuf::from("/b")]);
    let listeners: Vec<_> = config.listeners.iter().map(|(id, o)| (id.as_str(), o.clone())).collect();
    let address = |text: &str| ListenerOverride::Address(text.parse().unwrap());
    assert_eq!(
        listeners,
        [("admin", ListenerOverride::Off), ("http", address(":8080")), ("https", address("[::1]:8443"))]
    );
    assert_eq!(config.admin.trusted, ["10.0.0.0/8".parse().unwrap(), "192.168.1.1/32".parse().unwrap()]);
    assert_eq!((config.limits.head_bytes, config.limits.connections), (32_768, 1_000));
    assert_eq!(config.access_log.target, AccessLogTarget::File("/var/log/access.log".into()));
    assert_eq!(config.access_log.format, AccessLogFormat::Text);
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let cases: &[(&str, &str)] = &[
        (
            "workers = 4\ndrain-dely = '5s'",
            "flipgate.toml:2: `drain-dely` is no setting; did you mean `drain-delay`?",
        ),
        ("[stroe]\nstore = 'x'", "flipgate.toml:1: `stroe` is no setting; did you mean `store`?"),
        (
            "[log]\n\nlog-levl = 'info'",
            "flipgate.toml:3: `log-levl` is no setting of [log]; did you mean `log-level`?",
        ),
        ("[log]\nzzz = 1", "flipgate.toml:2: `zzz` is no setting of [log]"),
        ("log-level = 'info'", "flipgate.toml:1: `log-level` belongs in the table [log]"),
        ("[log]\nworkers = 1", "flipgate.toml:2: `workers` belongs at the top, before any table"),
        ("[store]\nstore = ['a', 'b']", "flipgate.toml:2: `store` takes one value, not a list"),
        ("workers = 1.5", "flipgate.toml:1: `workers` is a text, a number or a list of texts, not a float"),
        ("workers = 0", "flipgate.toml:1: \"0\" is no whole number from 1 to 1024"),
        ("default-listener = 'yes'", "flipgate.toml:1: \"yes\" is neither `on` nor `off`"),
        (
            "[health]\nhealth = 'unix:/x'",
            "flipgate.toml:2: \"unix:/x\" is neither an address with a port, like `127.0.0.1:8182`, nor `off`",
        ),
        ("[store]\netcd-cert = '/a'", "flipgate.toml:2: `etcd-cert` needs `etcd-key` as well"),
        (
            "[admin]\nadmin-trusted = 'private'",
            "flipgate.toml:2: \"private\" is no network, like `10.0.0.0/8`",
        ),
        (
            "[limits]\nmax-head-bytes = '64kb'",
            "flipgate.toml:2: \"64kb\" is no size from 1024 to 1048576 bytes, like `65536` or `64KiB`",
        ),
    ];
    for (file, message) in cases {
        assert_eq!(messages(file), [*message], "{file}");
    }
    assert!(messages("a = \n")[0].starts_with("flipgate.toml:1: not TOML: "));
    assert!(messages("drain-delay = 5")[0].starts_with("flipgate.toml:1: \"5\" lacks a unit"));
    assert!(messages("[listeners]\nhttp = 'x'")[0].starts_with("flipgate.toml:2: \"http=x\" is no address"));
}

#[test]
fn all_problems_are_reported_at_once() {
    let error = resolve(
        &[("workers", "many")],
        &[("FLIPGATE_DRAIN_DELAY", "soon")],
        "zzz = 1\n[limits]\nmax-connections = -1",
    )
    .unwrap_err();
    let origins: Vec<_> = error.problems.iter().map(|problem| problem.origin.to_string()).collect();
    assert_eq!(origins, ["flipgate.toml:1", "--workers", "FLIPGATE_DRAIN_DELAY", "flipgate.toml:3"]);
}

#[test]
fn the_commented_file_shows_every_setting_with_its_default() {
    let text = include_str!("../../config/flipgate.toml");
    assert_eq!(messages(text), [""; 0]);
    let is_setting = |line: &&str| line.starts_with(|c: char| c == '[' || c.is_ascii_lowercase());
    let lines = text.lines().map(|line| line.strip_prefix('#').unwrap_or(line)).filter(is_setting);
    // Two examples of one setting: the last one counts.
    let lines: Vec<_> = lines.filter(|line| !line.starts_with("store = \"dir:")).collect();
    assert_eq!(messages(&lines.join("\n")), [""; 0]);
    for setting in SETTINGS.iter().filter(|setting| setting.flag != "listener") {
        let shown = lines.iter().find(|line| line.split(" = ").next() == Some(setting.flag));
        let shown = shown.unwrap_or_else(|| panic!("{} is not shown", setting.flag));
        let value = shown.split(" = ").nth(1).unwrap().trim_matches('"');
        assert!(setting.default.is_empty() || value == setting.default, "{shown}, not {}", setting.default);
    }
}
