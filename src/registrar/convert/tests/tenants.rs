//! What the author of objects in one namespace cannot do to others, nor to the proxies.

use super::{Service, convert_service, notes, objects, service, slice};
use crate::kubernetes::Name;
use crate::model::ObjectKey;
use crate::registrar::convert::servers::is_own_machine;
use crate::registrar::convert::{Remit, convert};
use crate::registrar::{Change, Unit, World};

const ROUTE: (&str, &str) = ("route", "Host(`shop.example`)");

#[test]
fn no_endpoint_is_the_proxys_own_machine() {
    let odd = [
        "127.0.0.1 ready",
        "169.254.169.254 ready",
        "0.0.0.0 ready",
        "::ffff:127.0.0.1 ready",
        "::1 ready",
        "fe80::1 ready",
        ":: ready",
        "10.0.0.1 ready",
    ];
    let found =
        objects(&convert_service(&service(&[ROUTE], "http:80"), &[slice("web-1", "http:8080", &odd)]));
    let servers = found.as_object().unwrap().keys().filter(|key| key.contains("/servers/"));
    assert_eq!(servers.collect::<Vec<_>>(), ["backends/shop-web-80/servers/10.0.0.1:8080"]);
}

#[test]
fn the_proxys_own_machine_has_many_names() {
    for name in [
        "LocalHost.",
        "a.localhost",
        "0.0.0.0",
        "127.1",
        "127.0.0.1.",
        "2130706433",
        "0x7f000001",
        "0X7f.1",
        "::1",
        "::ffff:127.0.0.1",
        "fe80::1",
    ] {
        assert!(is_own_machine(name), "{name}");
    }
    for name in
        ["10.0.0.1", "fd00::1", "localhost.example", "0x.example", "a1.b2", "web", "127.0.0.1.example"]
    {
        assert!(!is_own_machine(name), "{name}");
    }
}

#[test]
fn nobody_joins_the_backends_of_another_namespace() {
    let one = |namespace: &str, name: &str, id: Option<&str>| {
        let given: Vec<_> = id.map(|id| ("backend-id", id)).into_iter().collect();
        let mut service = service(&given, "http:80");
        service.meta.name = Name::new(namespace, name);
        service
    };
    let tell = |world: &mut World, service: &Service, is_there: bool| {
        world.apply(Change::Service(service.meta.name.clone(), is_there.then(|| service.clone())))
    };
    let joins = |world: &World, service: &Service| {
        let converted = convert(world, &Unit::Service(service.meta.name.clone()), &Remit::default());
        let made = converted.objects.keys().any(|key| matches!(key, ObjectKey::Backend(_)));
        assert_eq!(made, notes(&converted).is_empty(), "{:?}", notes(&converted));
        made
    };
    let mut world = World::default();
    for (id, is_own) in [
        ("evil", true),
        ("evil-blue", true),
        ("evil.blue", true),
        ("shop", false),
        ("shop-web-80", false),
        ("evilshop", false),
        ("web", false),
    ] {
        let service = one("evil", "x", Some(id));
        tell(&mut world, &service, true);
        assert_eq!(joins(&world, &service), is_own, "{id}");
    }
    // What a Service elsewhere has by its name, or may choose, since its namespace is the longer one.
    for (chooser, other) in [
        (one("shop-web", "x", Some("shop-web-admin-80")), one("shop", "web-admin", None)),
        (one("shop", "x", Some("shop-prod-blue")), one("shop-prod", "y", None)),
    ] {
        tell(&mut world, &chooser, true);
        assert!(joins(&world, &chooser));
        for is_there in [true, false] {
            let soiled = tell(&mut world, &other, is_there);
            assert!(soiled.contains(&Unit::Service(chooser.meta.name.clone())), "{soiled:?}");
            assert_eq!(joins(&world, &chooser), !is_there);
        }
    }
}

#[test]
fn a_service_has_no_host_of_another_namespace() {
    let remit =
        Remit { hosts: [("shop", "shop.example"), ("bank", "*")].into_iter().collect(), ..Remit::default() };
    let route = |namespace: &str, route: &str| {
        let mut service = service(&[("route", route), ("priority", "1000")], "http:80");
        service.meta.name.namespace = namespace.into();
        let mut world = World::default();
        world.apply(Change::Service(service.meta.name.clone(), Some(service.clone())));
        let converted = convert(&world, &Unit::Service(service.meta.name), &remit);
        let route = objects(&converted)[format!("frontends/{namespace}-web/frontend")]["Route"].clone();
        (route.as_str().map(str::to_owned), notes(&converted).len())
    };
    let bound = "(PathPrefix(\"/\")) && (Host(`shop.example`))";
    assert_eq!(route("shop", "PathPrefix(\"/\")"), (Some(bound.to_owned()), 0));
    assert_eq!(route("bank", "PathPrefix(\"/\")"), (Some("PathPrefix(\"/\")".to_owned()), 0));
    assert_eq!(route("evil", "Host(\"shop.example\")"), (None, 1));
}
