//! YAML in, JSON out, and back.

use serde_json::Value;

/// The JSON of a YAML document, or one sentence with line and column. An empty document is `null`.
pub(super) fn to_json(text: &str) -> Result<String, String> {
    match serde_saphyr::from_str::<Value>(text) {
        Ok(value) => Ok(value.to_string()),
        Err(error) => {
            let said = error.without_snippet().to_string();
            let said = said.lines().next().unwrap_or("it cannot be read").trim();
            Err(format!("broken YAML: {said}"))
        }
    }
}

/// YAML for a JSON value; the JSON itself, which is YAML too, where a round trip would change it. None if it is no JSON.
pub(super) fn from_json(json: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(json).ok()?;
    let same = |text: &String| serde_saphyr::from_str::<Value>(text).is_ok_and(|read| read == value);
    let yaml = serde_saphyr::to_string(&value).ok().filter(same);
    Some(yaml.unwrap_or_else(|| value.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (yaml, json) in [
            (
                "route: Host(`a`) && Path(\"/x\")\nbackendId: shop",
                r#"{"route":"Host(`a`) && Path(\"/x\")","backendId":"shop"}"#,
            ),
            ("a: 1\nb: [x, 'y']\nc:\n  - d: true", r#"{"a":1,"b":["x","y"],"c":[{"d":true}]}"#),
            ("read: 50ms\nid: \"01\"", r#"{"read":"50ms","id":"01"}"#),
            (r#"{"a": {"b": null}}"#, r#"{"a":{"b":null}}"#),
            ("big: 9007199254740993", r#"{"big":9007199254740993}"#),
            ("", "null"),
        ] {
            assert_eq!(to_json(yaml).as_deref(), Ok(json), "{yaml}");
        }
    }

    #[test]
    fn says_where_it_is_broken() {
        for (yaml, part) in [
            ("a: 1\nb: [1, 2", "line"),
            ("a: 1\n\tb: 2", "line"),
            ("a: 1\na: 2", "line 2"),
            ("a: *x", "line 1, column 4"),
        ] {
            let said = to_json(yaml).unwrap_err();
            assert!(
                said.starts_with("broken YAML: ") && said.contains(part) && !said.contains('\n'),
                "{said}"
            );
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for json in [
            r#"{"a":"yes","b":"1","c":"null","d":"~","e":"a: b","f":"x\ny","g":1.5,"h":[],"i":{},"j":"- x","k":""}"#,
            r#"{"Route":"Host(`a`)","n":9007199254740993,"m":-1,"o":[{"p":[1,[2]]}]}"#,
            "null",
            "\"text\"",
        ] {
            let yaml = from_json(json.as_bytes()).unwrap();
            let read: Value = serde_json::from_str(&to_json(&yaml).unwrap()).unwrap();
            assert_eq!(read, serde_json::from_str::<Value>(json).unwrap(), "{yaml}");
        }
        assert_eq!(from_json(b"{"), None);
    }
}
