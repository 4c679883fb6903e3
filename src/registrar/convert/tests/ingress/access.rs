//! Who gets in; and that nobody does where that cannot be decided.

use super::{
    Annotations, check, converted, ingress, objects, plain, secret, shown, shown_in, with_tls, world,
};
use crate::registrar::{Change, World};
use serde_json::json;

const REFUSED: &str = r#"respond {"Status":503}"#;
/// Of `secret`.
const BCRYPT: &str = "ann:$2b$10$R9h/cIPz0gi.URNNX3kh2O8jE/.0JdNsA3yB6tHRy1bP9ldMaEStO";

fn with_secret(annotations: Annotations<'_>, fields: &[(&str, &[u8])]) -> World {
    let mut world = world(&[plain(annotations)]);
    let secret = secret("s", fields);
    world.apply(Change::Secret(secret.name.clone(), Some(secret)));
    world
}

#[track_caller]
fn check_secret(annotations: Annotations<'_>, fields: &[(&str, &[u8])], middlewares: &[&str], said: &[&str]) {
    let shown = shown_in(&with_secret(annotations, fields));
    assert_eq!(shown.middlewares, middlewares, "{annotations:?}");
    assert_eq!(shown.notes, said, "{annotations:?}");
}

#[test]
fn addresses_are_let_in_or_not() {
    check(
        &[("whitelist-source-range", "10.0.0.0/8, 192.0.2.7"), ("denylist-source-range", "10.1.0.0/16")],
        &[r#"ipfilter {"Allow":["10.0.0.0/8","192.0.2.7/32"],"Deny":["10.1.0.0/16"]}"#],
        &[],
    );
    check(&[("allowlist-source-range", "::1/128")], &[r#"ipfilter {"Allow":["::1/128"]}"#], &[]);
    check(
        &[("whitelist-source-range", "10.0.0.0/8,intern")],
        &[REFUSED],
        &[
            "error whitelist-source-range is `10.0.0.0/8,intern`; a list of networks like `10.0.0.0/8,192.0.2.7` is \
            expected",
        ],
    );
    check(
        &[("satisfy", "any")],
        &[],
        &["warning satisfy is not carried over: who gets in has to satisfy all"],
    );
}

#[test]
fn passwords_are_those_of_the_secret() {
    let given = [("auth-type", "basic"), ("auth-secret", "s"), ("auth-realm", "The \"shop\"")];
    let file = format!("# staff\n{BCRYPT}\n\n");
    let expected =
        format!(r#"basicauth {{"PassAuthorization":true,"Realm":"The shop","Users":["{BCRYPT}"]}}"#);
    check_secret(&given, &[("auth", file.as_bytes())], &[&expected], &[]);
    let given = [("auth-type", "basic"), ("auth-secret", "shop/s")];
    check_secret(&given, &[], &[REFUSED], &["error auth-secret names a Secret that has no text in `auth`"]);
    let wrong =
        "error auth-secret cannot be carried over: `Middleware.Users[0]` is no line of the form `NAME:HASH`";
    check_secret(&given, &[("auth", b"ann")], &[REFUSED], &[wrong]);
    check(
        &given,
        &[REFUSED],
        &["error auth-secret names the Secret shop/s, which does not exist or may not be read"],
    );
    check(
        &[("auth-type", "basic"), ("auth-secret", "other/s")],
        &[REFUSED],
        &["error auth-secret names other/s, which is in another namespace"],
    );
    check(&[("auth-type", "basic")], &[REFUSED], &["error auth-type has no `auth-secret` beside it"]);
    check(&[("auth-type", "digest")], &[REFUSED], &["error auth-type is `digest`; `basic` is expected"]);
    check_secret(
        &[("auth-type", "basic"), ("auth-secret", "s"), ("auth-secret-type", "auth-map")],
        &[("ann", b"x")],
        &[REFUSED],
        &["error auth-secret-type is `auth-map`; `auth-file` is expected"],
    );
}

#[test]
fn another_service_is_asked() {
    let given = [
        ("auth-url", "http://web.shop.svc.cluster.local/verify?a=b"),
        ("auth-response-headers", "X-User, X-Groups"),
        ("auth-method", "POST"),
        ("auth-signin", "https://login.example"),
    ];
    check(
        &given,
        &[
            r#"forwardauth {"BackendId":"shop-web-80","Path":"/verify?a=b","ResponseHeaders":["X-User","X-Groups"]}"#,
        ],
        &[
            "warning auth-method is `POST`, but the service is asked with GET",
            "warning auth-signin is not carried over: what the service answers goes to the client, so it can redirect \
             by itself",
        ],
    );
    let world = world(&[plain(&[("auth-url", "https://login.example:8443/verify")])]);
    let objects = objects(&converted(&world, "web"));
    assert_eq!(objects["backends/shop.web-auth/backend"], json!({ "Type": "http" }));
    assert_eq!(
        objects["backends/shop.web-auth/servers/login.example:8443"],
        json!({ "URL": "https://login.example:8443" })
    );
    // Pods are asked by addresses, which their certificates do not have.
    let objects = super::objects(&converted(
        &super::world(&[plain(&[("auth-url", "https://web.shop.svc:80/")])]),
        "web",
    ));
    assert_eq!(
        objects["backends/shop.web-auth-web-80/servers/10.0.0.1:8080"],
        json!({ "URL": "https://10.0.0.1:8080" })
    );
    let expected =
        "a URL without variables, like `http://NAME.NAMESPACE.svc.cluster.local:PORT/PATH`, is expected";
    check(
        &[("auth-url", "https://$host/oauth2/auth")],
        &[REFUSED],
        &[&format!("error auth-url is `https://$host/oauth2/auth`; {expected}")],
    );
    check(
        &[("auth-url", "http://gone.shop.svc:80/")],
        &[REFUSED],
        &["error auth-url leads to the Service shop/gone, which does not exist"],
    );
    // Nobody who may write an Ingress gets to the proxies' own admin API.
    check(
        &[("auth-url", "http://127.0.0.1:8182/")],
        &[REFUSED],
        &["error auth-url leads to each proxy's own machine"],
    );
}

#[test]
fn clients_show_certificates() {
    let pem = rcgen::generate_simple_self_signed(["shop.example".to_owned()]).unwrap();
    let (cert, key) = (pem.cert.pem(), pem.signing_key.serialize_pem());
    let of = |annotations: Annotations<'_>, authorities: &str| {
        let mut world = world(&[with_tls(plain(annotations), &["shop.example"], Some("s"))]);
        let fields =
            [("tls.crt", cert.as_bytes()), ("tls.key", key.as_bytes()), ("ca.crt", authorities.as_bytes())];
        let secret = secret("s", &fields);
        world.apply(Change::Secret(secret.name.clone(), Some(secret)));
        let converted = converted(&world, "web");
        let host = converted.objects.iter().find_map(|(key, desired)| match desired {
            super::Desired::Certificate { value, .. } => {
                assert_eq!(key.to_string(), "hosts/shop.example/host");
                value.get("Settings").map(|settings| settings["ClientAuth"].clone())
            }
            super::Desired::Value(_) => None,
        });
        let has = |id: &str| objects(&converted).to_string().contains(&format!("middlewares/{id}"));
        (host, has("refuse"))
    };
    let given = ("auth-tls-secret", "shop/s");
    let (host, refused) = of(&[given], &cert);
    assert_eq!((host, refused), (Some(json!({ "Mode": "required", "CA": cert })), false));
    let (host, refused) = of(
        &[given, ("auth-tls-verify-client", "optional"), ("auth-tls-pass-certificate-to-upstream", "true")],
        &cert,
    );
    assert_eq!(host, Some(json!({ "Mode": "optional", "CA": cert, "Forward": true })));
    assert!(!refused);
    assert!(of(&[given], "").1);
    assert!(of(&[given, ("auth-tls-match-cn", "CN=ann")], &cert).1);
    assert!(!of(&[given, ("auth-tls-verify-client", "off")], "").1);
    assert!(shown(&[given]).middlewares.contains(&REFUSED.to_owned()));
}

#[test]
fn nobody_gets_in_where_no_certificate_is_asked_for() {
    let pem = rcgen::generate_simple_self_signed(["shop.example".to_owned()]).unwrap();
    let (cert, key) = (pem.cert.pem(), pem.signing_key.serialize_pem());
    let refused = |lines: &str, hosts: &[&str], secret_name: Option<&str>, mode: &str| {
        let annotations = [("auth-tls-secret", "shop/s"), ("auth-tls-verify-client", mode)];
        let mut world = world(&[with_tls(ingress("web", &annotations, lines), hosts, secret_name)]);
        let fields = [("tls.crt", cert.as_bytes()), ("tls.key", key.as_bytes()), ("ca.crt", cert.as_bytes())];
        let secret = secret("s", &fields);
        world.apply(Change::Secret(secret.name.clone(), Some(secret)));
        objects(&converted(&world, "web")).to_string().contains("middlewares/refuse")
    };
    let line = "shop.example / Prefix web:80";
    assert!(!refused(line, &["shop.example"], Some("s"), "on"));
    assert!(!refused(line, &["*.example"], Some("s"), "on"));
    assert!(!refused(line, &[], Some("s"), "on"));
    // The default certificate's connections are asked for nothing.
    assert!(refused(line, &["shop.example"], None, "on"));
    assert!(refused(line, &["shop.example"], Some("gone"), "on"));
    assert!(refused(&format!("{line}\nother.test / Prefix web:80"), &["shop.example"], Some("s"), "on"));
    assert!(refused("* / Prefix web:80", &["shop.example"], Some("s"), "on"));
    assert!(!refused(line, &["shop.example"], None, "optional"));
}
