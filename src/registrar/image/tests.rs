use super::*;
use crate::store::Entry;

fn entry(key: &str, version: u64, value: &str) -> Entry {
    Entry { key: key.into(), value: value.to_owned().into(), version, created: 1, lease: None }
}

fn put(image: &mut Image, key: &str, version: u64, value: &str) -> Touched {
    let changes = vec![Change::Put(entry(key, version, value))];
    image.apply(Batch { revision: Revision(version), changes })
}

fn delete(image: &mut Image, key: &str, revision: u64) -> Touched {
    let changes = vec![Change::Delete { key: key.into() }];
    image.apply(Batch { revision: Revision(revision), changes })
}

fn backends(touched: &Touched) -> Vec<(&str, bool)> {
    touched.backends.iter().map(|(id, is_there)| (id.as_str(), *is_there)).collect()
}

#[test]
fn what_has_the_clusters_mark_is_owned() {
    let mut image = Image::new("kubernetes");
    let check = |image: &mut Image, value: &str, is_owned: bool| {
        put(image, "frontends/f/frontend", image.revision().0 + 1, value);
        let key = ObjectKey::parse("frontends/f").unwrap();
        assert_eq!(image.get(&key).unwrap().is_owned(), is_owned, "{value}");
        assert_eq!((image.owned().count(), image.frontends()), (is_owned.into(), is_owned.into()), "{value}");
    };
    check(&mut image, r#"{"Owner": "kubernetes:service/a/b"}"#, true);
    check(&mut image, r#"{"owner": "kubernetes:service/a/b"}"#, true);
    check(&mut image, r#"{"Owner": "kubernetes2:service/a/b"}"#, false);
    check(&mut image, r#"{"Owner": "kubernetes"}"#, false);
    check(&mut image, r#"{"Owner": 5}"#, false);
    check(&mut image, r#"{"Owner": "kubernetes:x"}"#, true);
    check(&mut image, "no JSON, Owner: kubernetes:", false);
}

#[test]
fn pods_join_backends_of_others_in_either_spelling() {
    let mut image = Image::new("kubernetes");
    assert_eq!(backends(&put(&mut image, "backends/a", 1, r#"{"Type": "http"}"#)), [("a", true)]);
    assert_eq!(backends(&put(&mut image, "backends/a/backend", 2, "{}")), []);
    assert_eq!(backends(&delete(&mut image, "backends/a", 3)), []);
    assert_eq!(
        backends(&put(&mut image, "backends/a/backend", 4, r#"{"type": "alias", "Target": "b"}"#)),
        [("a", false)]
    );
    assert_eq!(backends(&put(&mut image, "backends/a/backend", 5, "broken")), [("a", true)]);
    assert_eq!(
        backends(&put(&mut image, "backends/a/backend", 6, r#"{"Owner": "kubernetes:x"}"#)),
        [("a", false)]
    );
    assert_eq!(backends(&put(&mut image, "backends/a/backend", 7, r#"{"Owner": "other:x"}"#)), [("a", true)]);
    assert_eq!(backends(&delete(&mut image, "backends/a/backend", 8)), [("a", false)]);
    // Servers alone are no backend that pods may join.
    assert_eq!(backends(&put(&mut image, "backends/b/servers/s", 9, r#"{"URL": "http://a:1"}"#)), []);
}

#[test]
fn a_snapshot_tells_what_differs() {
    let mut image = Image::new("c");
    put(&mut image, "backends/a/servers/s", 1, r#"{"URL": "http://a:1", "Owner": "c:x"}"#);
    put(&mut image, "backends/a/servers/t", 2, r#"{"URL": "http://a:2", "Owner": "c:x"}"#);
    put(&mut image, "backends/o", 3, "{}");
    assert_eq!((image.backends(), image.servers(&"a".parse().unwrap())), (1, 2));
    let entries = vec![
        entry("backends/a/servers/s", 1, r#"{"URL": "http://a:1", "Owner": "c:x"}"#),
        entry("unknown/key", 9, "x"),
        entry("frontends/f/frontend", 9, r#"{"Owner": "c:x"}"#),
    ];
    let touched = image.reset(Snapshot { revision: Revision(2), entries });
    let keys: Vec<String> = touched.keys.iter().map(ToString::to_string).collect();
    assert_eq!(keys, ["frontends/f/frontend", "backends/o/backend", "backends/a/servers/t"]);
    assert_eq!(backends(&touched), [("o", false)]);
    assert_eq!((image.frontends(), image.backends(), image.revision()), (1, 1, Revision(2)));
    // Others' edits of their own objects are nobody's business here.
    put(&mut image, "frontends/other", 10, "{}");
    assert_eq!(put(&mut image, "frontends/other", 11, r#"{"Route": "x"}"#), Touched::default());
}
