//! Hosts that are for certain namespaces.

use super::{ingress, nginx, notes, secret, to, with_tls, world};
use crate::kubernetes::Name;
use crate::registrar::convert::{Remit, convert};
use crate::registrar::{Change, Unit};

#[test]
fn an_ingress_has_no_host_of_another_namespace() {
    let remit = Remit { hosts: [("shop", "shop.example"), ("bank", "*")].into_iter().collect(), ..nginx() };
    let annotations = [("server-alias", "bank.example"), ("from-to-www-redirect", "true")];
    let lines = "shop.example / Prefix web:80\nbank.example / Prefix web:80\n* /.well-known Prefix web:80";
    let mut mixed = with_tls(ingress("web", &annotations, lines), &["bank.example"], Some("tls"));
    mixed.default_backend = Some(to("web:80"));
    let mut world = world(&[mixed]);
    let pair = rcgen::generate_simple_self_signed(["bank.example".to_owned()]).unwrap();
    let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    let tls = secret("tls", &[("tls.crt", certificate.as_bytes()), ("tls.key", key.as_bytes())]);
    world.apply(Change::Secret(tls.name.clone(), Some(tls)));
    let converted = convert(&world, &Unit::Ingress(Name::new("shop", "web")), &remit);
    let keys: Vec<_> = converted.objects.keys().map(ToString::to_string).collect();
    let fronts: Vec<_> = keys.iter().filter(|key| !key.starts_with("backends/")).collect();
    assert_eq!(fronts, ["frontends/shop-web:shop.example/frontend"]);
    let prefix = "error ingress/shop/web ";
    let said: Vec<_> = notes(&converted).into_iter().map(|note| note.replace(prefix, "")).collect();
    assert_eq!(
        said,
        [
            "nginx.ingress.kubernetes.io/server-alias has `bank.example`; it is not for this namespace",
            "spec.defaultBackend is for every host; it is not for this namespace",
            "spec.rules[1].http.paths[0] is for `bank.example`; it is not for this namespace",
            "spec.rules[2].http.paths[0] is for every host; it is not for this namespace",
            "spec.tls[0].secretName is for `bank.example`; it is not for this namespace",
        ]
    );
}
