//! The sources themselves: which room may know which, and how long a page may be.

use std::fs;
use std::path::{Path, PathBuf};

/// Layers from the bottom. A room may use rooms of lower layers, never of its own.
const LAYERS: [&[&str]; 8] = [
    &["model", "expr"],
    &["message", "tls", "telemetry", "config", "wire", "meter", "kubernetes"],
    &["route", "middleware", "upstream", "store", "web"],
    &["table", "flip"],
    &["proxy", "control"],
    &["admin", "registrar", "deployer"],
    &["app"],
    &["cli"],
];

/// The one arrow within a layer.
const ALLOWED: [(&str, &str); 1] = [("model", "expr")];

/// Past this a file is two ideas.
const LINES_MAX: usize = 600;

fn layer(room: &str) -> Option<usize> {
    LAYERS.iter().position(|rooms| rooms.contains(&room))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources(dir: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
}

fn all_sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    sources(&root(), &mut found);
    assert!(found.len() > 50, "the sources were not found");
    found
}

/// The room that a file belongs to; none for `lib.rs` and `main.rs`, which stand above all.
fn room_of(path: &Path) -> Option<String> {
    let inside = path.strip_prefix(root()).unwrap();
    let first = inside.components().next()?.as_os_str().to_str()?;
    let room = first.strip_suffix(".rs").unwrap_or(first);
    (!matches!(room, "lib" | "main")).then(|| room.to_owned())
}

/// Rooms that a text names after `crate::`, with the line; also those in `use crate::{a::X, b::Y}`.
fn named_rooms(text: &str) -> Vec<(usize, String)> {
    let code = without_comments(text);
    let mut rooms = Vec::new();
    for (at, mark) in code.match_indices("crate::") {
        // `$crate::` and `some_crate::` are something else.
        if code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == '$') {
            continue;
        }
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + mark.len()..];
        match rest.strip_prefix('{') {
            Some(list) => rooms.extend(list_heads(list).into_iter().map(|room| (line, room))),
            None => rooms.push((line, word(rest))),
        }
    }
    rooms
}

/// The first words of the members of a braced list, which begins behind its brace.
fn list_heads(list: &str) -> Vec<String> {
    let mut heads = vec![word(list.trim_start())];
    let mut depth = 0;
    for (at, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.push(word(list[at + 1..].trim_start())),
            _ => {}
        }
    }
    heads.retain(|head| !head.is_empty());
    heads
}

fn word(text: &str) -> String {
    text.chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect()
}

/// Lines keep their numbers.
fn without_comments(text: &str) -> String {
    let code = |line: &str| match line.trim_start().starts_with("//") {
        true => String::new(),
        false => line.to_owned(),
    };
    text.lines().map(code).collect::<Vec<_>>().join("\n")
}

#[test]
fn imports_point_downwards() {
    let mut wrong = Vec::new();
    for (path, text) in all_sources() {
        let Some(room) = room_of(&path) else { continue };
        let place = path.strip_prefix(root()).unwrap().display().to_string();
        let Some(own) = layer(&room) else {
            wrong.push(format!("src/{place}: the room `{room}` has no layer"));
            continue;
        };
        for (line, other) in named_rooms(&text) {
            // Items of the crate's own root, such as macros, have no room.
            let Some(others) = layer(&other) else { continue };
            let allowed = ALLOWED.contains(&(room.as_str(), other.as_str()));
            if room != other && others >= own && !allowed {
                wrong.push(format!("src/{place}:{line}: {room} (layer {own}) uses {other} (layer {others})"));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that do not point down:\n{}", wrong.join("\n"));
}

#[test]
fn a_file_is_a_page() {
    let long = |(path, text): &(PathBuf, String)| {
        let lines = text.lines().count();
        // Tables of tests may be longer; they stand in files of their own.
        let is_test =
            path.file_stem().is_some_and(|stem| stem == "tests") || path.iter().any(|part| part == "tests");
        (lines > LINES_MAX && !is_test).then(|| format!("{}: {lines} lines", path.display()))
    };
    let long = all_sources().iter().filter_map(long).collect::<Vec<_>>();
    assert!(long.is_empty(), "past {LINES_MAX} lines a file is two ideas:\n{}", long.join("\n"));
}

#[test]
fn arrows_are_found_in_every_form() {
    let text = "use crate::model::Id;\n// use crate::cli::X;\nuse crate::{expr::Route, store::{self, Key},\n tls};\n\
                fn f() -> crate::wire::Wire {}\n$crate::admin::x!();";
    let found =
        named_rooms(text).into_iter().map(|(line, room)| format!("{line} {room}")).collect::<Vec<_>>();
    assert_eq!(found, ["1 model", "3 expr", "3 store", "3 tls", "5 wire"]);
}
