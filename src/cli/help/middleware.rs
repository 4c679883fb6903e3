//! The pages of the middlewares: one Markdown file a type below `middleware/`, which the tests read as well.
//!
//! A page has a title, which is the type; a paragraph that says in one sentence what it does; `## Parameters`, each of
//! them a line ``* `Name` (type, default): meaning and limits``; `## Behaviour`; and `## Examples`, whose `json` blocks
//! are whole values of a middleware's key.

use super::super::context::{Context, Exit, Output};
use super::super::table::table;
use anyhow::bail;
use serde_json::{Value, json};

/// Every type with its page, by name.
const PAGES: &[(&str, &str)] = &[
    ("auth", include_str!("middleware/auth.md")),
    ("basicauth", include_str!("middleware/basicauth.md")),
    ("cbreaker", include_str!("middleware/cbreaker.md")),
    ("compress", include_str!("middleware/compress.md")),
    ("connlimit", include_str!("middleware/connlimit.md")),
    ("cors", include_str!("middleware/cors.md")),
    ("forwardauth", include_str!("middleware/forwardauth.md")),
    ("headers", include_str!("middleware/headers.md")),
    ("ipfilter", include_str!("middleware/ipfilter.md")),
    ("mirror", include_str!("middleware/mirror.md")),
    ("ratelimit", include_str!("middleware/ratelimit.md")),
    ("redirect", include_str!("middleware/redirect.md")),
    ("respond", include_str!("middleware/respond.md")),
    ("rewrite", include_str!("middleware/rewrite.md")),
    ("trace", include_str!("middleware/trace.md")),
];

/// Prints the list of types, or the page of one.
///
/// # Errors
/// There is no such type.
pub(super) fn run(names: &[String], context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
    match names {
        [] => list(context),
        [name] => page(name, context),
        _ => bail!("`help middleware` takes one type; {} were given", names.len()),
    }
}

fn list(context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
    if context.output == Output::Json {
        let pages = PAGES.iter().map(|(name, text)| json!({ "type": name, "summary": summary(text) }));
        context.json(&pages.collect())?;
        return Ok(Exit::Done);
    }
    let rows = PAGES.iter().map(|(name, text)| [(*name).to_owned(), summary(text)]);
    context.say(table(["TYPE", "WHAT IT DOES"], rows))?;
    context.note("`flipgate help middleware TYPE` tells parameters, behaviour and examples");
    Ok(Exit::Done)
}

fn page(name: &str, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
    let Some((name, text)) = PAGES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) else {
        let known = PAGES.iter().map(|(known, _)| *known).collect::<Vec<_>>().join(", ");
        bail!("`{name}` is no type of middleware; there are {known}");
    };
    if context.output == Output::Json {
        let examples: Vec<Value> =
            examples(text).iter().filter_map(|example| serde_json::from_str(example).ok()).collect();
        let value = json!({ "type": name, "summary": summary(text), "text": text, "examples": examples });
        context.json(&value)?;
    } else {
        context.say(text.trim_end())?;
    }
    Ok(Exit::Done)
}

/// The first paragraph, in one line.
fn summary(page: &str) -> String {
    let lines = page.lines().skip_while(|line| line.is_empty() || line.starts_with('#'));
    lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The blocks marked `json`.
fn examples(page: &str) -> Vec<String> {
    let blocks = page.split("```json\n").skip(1);
    blocks.filter_map(|block| block.split("```").next()).map(str::to_owned).collect()
}

#[cfg(test)]
#[path = "middleware_tests.rs"]
mod tests;
