//! Every type has a page, and every page says what the model reads.

use super::*;
use crate::model::{Finding, MIDDLEWARE_TYPES, Object, ObjectKey, Parsed, Strictness};
use std::fs;
use std::path::Path;

fn parse(value: &Value) -> Parsed {
    let key = ObjectKey::parse("frontends/shop/middlewares/m").unwrap();
    Object::parse_value(&key, value, Strictness::Written)
}

/// The lines of a section, each with those that go on with it.
fn section(text: &str, title: &str) -> Vec<String> {
    let lines = text.lines().skip_while(|line| *line != format!("## {title}")).skip(1);
    let mut found: Vec<String> = Vec::new();
    for line in lines.take_while(|line| !line.starts_with("## ")).filter(|line| !line.is_empty()) {
        match (line.strip_prefix("  "), found.last_mut()) {
            (Some(more), Some(last)) => last.push_str(&format!(" {more}")),
            _ => found.push(line.to_owned()),
        }
    }
    found
}

#[test]
fn every_type_has_a_page_and_every_page_a_type() {
    let mut types = MIDDLEWARE_TYPES.to_vec();
    types.sort_unstable();
    assert_eq!(PAGES.iter().map(|(name, _)| *name).collect::<Vec<_>>(), types, "PAGES, by name");

    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/help/middleware");
    let mut files: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort_unstable();
    assert_eq!(files, types.iter().map(|name| format!("{name}.md")).collect::<Vec<_>>());
}

#[test]
fn pages_have_one_form() {
    for (name, text) in PAGES {
        let titles: Vec<&str> = text.lines().filter(|line| line.starts_with('#')).collect();
        assert_eq!(
            titles,
            [&format!("# {name}"), "## Parameters", "## Behaviour", "## Examples"],
            "the titles of {name}"
        );
        assert!((20..=200).contains(&summary(text).len()), "{name}: {}", summary(text));
        assert!(!section(text, "Behaviour").is_empty(), "{name} has no behaviour");
        let wide = text.lines().find(|line| line.chars().count() > 120);
        assert_eq!(wide, None, "{name}: at most 120 characters a line");
    }
}

/// Each parameter is a line ``* `Name` (type, default ...)``, and the model knows it.
#[test]
fn parameters_are_those_of_the_model() {
    for (name, text) in PAGES {
        let lines = section(text, "Parameters");
        let parameters: Vec<&String> = lines.iter().filter(|line| line.starts_with("* ")).collect();
        assert!(!parameters.is_empty(), "{name} has no parameters");
        for line in parameters {
            let form = line.strip_prefix("* `").and_then(|rest| rest.split_once("` ("));
            let form = form.and_then(|(path, rest)| Some((path, rest.split_once("): ")?)));
            let Some((path, (kind, meaning))) = form else { panic!("{name}: {line:?} is no parameter") };
            let told = kind.ends_with("required") || kind.contains("default ");
            assert!(told && !meaning.is_empty(), "{name}: {line:?} tells neither a default nor `required`");
            // What is null is as absent, but for its name.
            let value = path.rsplit('.').fold(Value::Null, |inner, part| json!({ part: inner }));
            let parsed = parse(&json!({ "Type": name, "Middleware": value }));
            let unknown = |finding: &&Finding| finding.reason.contains("is not a known field");
            assert_eq!(parsed.findings.iter().find(unknown), None, "{name}: {path}");
        }
    }
}

/// Examples are whole values: valid as strictly as what is written, and the same when written back.
#[test]
fn examples_are_valid() {
    for (name, text) in PAGES {
        let examples = examples(text);
        assert!(!examples.is_empty(), "{name} has no example");
        for example in examples {
            let value: Value = serde_json::from_str(&example).unwrap();
            assert_eq!(value["Type"], *name, "{example}");
            let parsed = parse(&value);
            assert_eq!(parsed.findings, [], "{name}: {example}");
            let object = parsed.object.unwrap();
            assert_eq!(parse(&object.to_value()).object.as_ref(), Some(&object), "{example}");
        }
    }
}

#[test]
fn parts_of_a_page_are_found() {
    let text = "# a\n\nWhat it\ndoes.\n\n## Parameters\n\n* `X` (text, default a): b\n  c\n* `Y` (d)\n\n## Behaviour\n\n\
                ```json\n{}\n```\n";
    assert_eq!(summary(text), "What it does.");
    assert_eq!(section(text, "Parameters"), ["* `X` (text, default a): b c", "* `Y` (d)"]);
    assert_eq!(examples(text), ["{}\n"]);
}
