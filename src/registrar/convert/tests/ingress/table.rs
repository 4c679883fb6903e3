//! The table of annotations, and certificates.

use super::{check, converted, notes, plain, secret, with_tls, world};
use crate::registrar::Change;
use crate::registrar::convert::Desired;
use crate::registrar::convert::ingress::{ANNOTATIONS, Annotation, PREFIX, Support};
use std::collections::BTreeSet;

#[test]
fn each_annotation_stands_once_and_what_is_not_carried_over_is_named() {
    let names: BTreeSet<&str> = ANNOTATIONS.iter().map(|annotation| annotation.name).collect();
    assert_eq!(names.len(), ANNOTATIONS.len());
    for Annotation { name, support, note } in ANNOTATIONS {
        assert!(!note.is_empty() && !note.ends_with('.'), "{name}");
        let given = [(*name, "true")];
        let converted = converted(&world(&[plain(&given)]), "web");
        let expected = format!("warning ingress/shop/web {PREFIX}{name} is not carried over: {note}");
        assert_eq!(notes(&converted).contains(&expected), *support == Support::No, "{name}");
    }
    check(&[("gzip-level", "5")], &[], &["warning gzip-level is not known, and not carried over"]);
    check(&[("haproxy.org/check", "true")], &[], &[]);
}

#[test]
fn certificates_come_from_secrets() {
    let pair = |host: &str| {
        let pem = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
        (pem.cert.pem(), pem.signing_key.serialize_pem())
    };
    let (cert, key) = pair("shop.example");
    let (_, foreign) = pair("shop.example");
    let of = |hosts: &[&str], cert: &str, key: &str| {
        let mut world = world(&[with_tls(plain(&[]), hosts, Some("s"))]);
        let secret = secret("s", &[("tls.crt", cert.as_bytes()), ("tls.key", key.as_bytes())]);
        world.apply(Change::Secret(secret.name.clone(), Some(secret)));
        let converted = converted(&world, "web");
        let hosts = converted.objects.iter().filter(|(_, desired)| match desired {
            Desired::Certificate { certificate, secret, .. } => {
                assert_eq!(certificate.as_slice(), cert.as_bytes());
                assert_eq!(secret.to_string(), "secret/shop/s");
                true
            }
            Desired::Value(_) => false,
        });
        let hosts: Vec<String> = hosts.map(|(key, _)| key.to_string()).collect();
        (hosts, notes(&converted))
    };
    let none = Vec::<String>::new();
    assert_eq!(of(&[], &cert, &key), (vec!["hosts/shop.example/host".to_owned()], none.clone()));
    let (hosts, said) = of(&["A.example", "*.b.example"], &cert, &key);
    assert_eq!(hosts, ["hosts/*.b.example/host", "hosts/a.example/host"]);
    assert_eq!(said, none);
    let (hosts, said) = of(&[], &cert, &foreign);
    assert_eq!(hosts, none);
    let field = "error ingress/shop/web spec.tls[0].secretName names the Secret shop/s, which";
    assert!(said[0].starts_with(&format!("{field} cannot be used: ")), "{said:?}");
    let world = world(&[with_tls(plain(&[]), &[], Some("s"))]);
    assert_eq!(notes(&converted(&world, "web")), [format!("{field} does not exist or may not be read")]);
}
