//! From the API's form to what is remembered: YAML in, what is seen out.

use super::*;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1 as networking;
use serde::de::DeserializeOwned;

fn read<T: DeserializeOwned>(yaml: &str) -> T {
    serde_saphyr::from_str(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"))
}

#[test]
fn metadata_is_cut_to_what_matters() {
    let long = "x".repeat(ANNOTATION_BYTES_MAX);
    let meta = Meta::from_api(&read(&format!(
        "{{name: web, namespace: shop, uid: u-1, creationTimestamp: '1970-01-01T00:01:40Z', annotations: {{
            a: b, edge: '{long}', beyond: '{long}x', kubectl.kubernetes.io/last-applied-configuration: '{{}}' }} }}"
    )))
    .unwrap();
    assert_eq!(meta.name, Name::new("shop", "web"));
    assert_eq!((&*meta.uid, meta.created), ("u-1", 100));
    assert_eq!(meta.annotations.keys().map(|key| &**key).collect::<Vec<_>>(), ["a", "edge"]);
    assert_eq!(meta.annotation("a"), Some("b"));
    assert_eq!(Meta::from_api(&read("{namespace: shop}")), None);
    assert_eq!(Meta::from_api(&read("{name: ''}")), None);
    let bare = Meta::from_api(&read("{name: web}")).unwrap();
    assert_eq!((bare.name, bare.created), (Name::new("", "web"), 0));
}

#[test]
fn services() {
    let check =
        |spec: &str, ports: &[(Option<&str>, u16, Option<&str>)], headless, external: Option<&str>| {
            let service =
                read::<core::Service>(&format!("{{metadata: {{name: web, namespace: shop}}, spec: {spec}}}"));
            let seen = Service::from_api(&service).unwrap();
            let found: Vec<_> = seen
                .ports
                .iter()
                .map(|port| (port.name.as_deref(), port.port, port.app_protocol.as_deref()))
                .collect();
            assert_eq!(found, ports, "{spec}");
            assert_eq!((seen.headless, seen.external_name.as_deref()), (headless, external), "{spec}");
        };
    check("null", &[], false, None);
    check("{}", &[], false, None);
    check("{clusterIP: None}", &[], true, None);
    check("{clusterIP: 10.0.0.1, ports: [{port: 80}]}", &[(None, 80, None)], false, None);
    check(
        "{ports: [{name: '', port: 80, protocol: TCP, appProtocol: ''}, {name: h2, port: 81, appProtocol: kubernetes.io/h2c}]}",
        &[(None, 80, None), (Some("h2"), 81, Some("kubernetes.io/h2c"))],
        false,
        None,
    );
    let odd = "{ports: [{port: 0}, {port: -1}, {port: 65536}, {port: 53, protocol: UDP}, {port: 65535}]}";
    check(odd, &[(None, 65535, None)], false, None);
    check("{type: ExternalName, externalName: db.example}", &[], false, Some("db.example"));
    check("{type: ExternalName, externalName: ''}", &[], false, None);
    check("{type: ClusterIP, externalName: db.example}", &[], false, None);
    assert_eq!(Service::from_api(&read("{metadata: {}}")), None);
}

#[test]
fn slices() {
    let slice = |rest: &str| -> Option<Slice> {
        let labels = "{kubernetes.io/service-name: web}";
        let metadata = format!("{{name: web-x1, namespace: shop, labels: {labels}}}");
        Slice::from_api(&read::<EndpointSlice>(&format!("{{metadata: {metadata}, {rest}}}")))
    };
    let seen = slice(
        "addressType: IPv4, ports: [{name: http, port: 8080, protocol: TCP, appProtocol: http}, {name: '', port: 9},
           {name: all}, {name: dns, port: 53, protocol: UDP}, {port: 70000}],
         endpoints: [{addresses: [10.1.0.1, 10.1.0.2], zone: a}, {addresses: []}, {addresses: [web.example]},
           {addresses: [10.1.0.3], zone: ''}]",
    )
    .unwrap();
    assert_eq!((&seen.name, &*seen.service), (&Name::new("shop", "web-x1"), "web"));
    let ports: Vec<_> = seen.ports.iter().map(|port| (port.name.as_deref(), port.port)).collect();
    assert_eq!(ports, [(Some("http"), 8080), (None, 9)]);
    assert_eq!(seen.ports[0].app_protocol.as_deref(), Some("http"));
    let endpoints: Vec<_> =
        seen.endpoints.iter().map(|it| (it.address.to_string(), it.readiness, it.zone.as_deref())).collect();
    let ready = Readiness::Ready;
    assert_eq!(endpoints, [("10.1.0.1".to_owned(), ready, Some("a")), ("10.1.0.3".to_owned(), ready, None)]);

    let six = slice(
        "addressType: IPv6, ports: null, endpoints: [{addresses: ['fd00::1']}, {addresses: ['fe80::1%eth0']}]",
    );
    assert_eq!(six.unwrap().endpoints[0].address.to_string(), "fd00::1");
    let names = slice("addressType: FQDN, endpoints: [{addresses: [web.example]}]").unwrap();
    assert_eq!(names.endpoints, []);
    assert_eq!(
        Slice::from_api(&read("{metadata: {name: x, namespace: y}, addressType: IPv4, endpoints: []}")),
        None
    );
}

#[test]
fn readiness_of_endpoints() {
    use Readiness::{Ended, Ending, NotReady, Ready};
    let check = |conditions: &str, expected| {
        let text = format!(
            "{{metadata: {{name: x, labels: {{kubernetes.io/service-name: web}}}}, addressType: IPv4,
               endpoints: [{{addresses: [10.1.0.1], conditions: {conditions}}}]}}"
        );
        assert_eq!(Slice::from_api(&read(&text)).unwrap().endpoints[0].readiness, expected, "{conditions}");
    };
    check("null", Ready);
    check("{}", Ready);
    check("{ready: true, serving: true, terminating: false}", Ready);
    check("{ready: true}", Ready);
    check("{ready: false}", NotReady);
    check("{ready: false, serving: false, terminating: false}", NotReady);
    check("{ready: false, serving: true, terminating: true}", Ending);
    check("{ready: false, serving: false, terminating: true}", Ended);
    check("{ready: false, terminating: true}", Ended);
    // A Service that publishes addresses which are not ready.
    check("{ready: true, serving: true, terminating: true}", Ending);
    check("{ready: true, serving: false, terminating: false}", Ready);
}

#[test]
fn pods() {
    let pod = |metadata: &str, rest: &str| {
        let text =
            format!("{{metadata: {{name: p, namespace: shop, labels: {{name: web}}, {metadata}}}, {rest}}}");
        Pod::from_api(&read::<core::Pod>(&text), "name")
    };
    let ports = "spec: {containers: [{name: a, ports: [{containerPort: 8080, name: http}, {containerPort: 53, protocol: UDP}]},
        {name: b}, {name: c, ports: [{containerPort: 9090}, {containerPort: 0}, {containerPort: 99999}]}],
        initContainers: [{name: d, ports: [{containerPort: 1}]},
          {name: e, restartPolicy: Always, ports: [{containerPort: 2, name: mesh}]}]}";
    let seen = pod(
        "",
        &format!(
            "{ports}, status: {{podIP: 10.1.0.1, podIPs: [{{ip: 10.1.0.1}}, {{ip: 'fd00::1'}}, {{ip: no}}]}}"
        ),
    )
    .unwrap();
    assert_eq!((&seen.meta.name, &*seen.label), (&Name::new("shop", "p"), "web"));
    let found: Vec<_> = seen.ports.iter().map(|port| (port.name.as_deref(), port.port)).collect();
    assert_eq!(found, [(Some("http"), 8080), (None, 9090), (Some("mesh"), 2)]);
    let addresses: Vec<_> = seen.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.1.0.1", "fd00::1"]);
    assert_eq!(pod("", "status: {}").unwrap().addresses, [] as [std::net::IpAddr; 0]);
    let unlabelled: core::Pod = read("{metadata: {name: p, labels: {app: web}}}");
    assert_eq!(Pod::from_api(&unlabelled, "name"), None);
    assert_eq!(&*Pod::from_api(&unlabelled, "app").unwrap().label, "web");
}

#[test]
fn readiness_of_pods() {
    use Readiness::{Ended, Ending, NotReady, Ready};
    let check = |metadata: &str, status: &str, expected| {
        let text = format!("{{metadata: {{name: p, labels: {{name: web}}, {metadata}}}, status: {status}}}");
        assert_eq!(Pod::from_api(&read(&text), "name").unwrap().readiness, expected, "{metadata} {status}");
    };
    let ready = "[{type: Initialized, status: 'True'}, {type: Ready, status: 'True'}]";
    let not = "[{type: Initialized, status: 'True'}, {type: Ready, status: 'False'}]";
    let ends = "deletionTimestamp: '2026-01-01T00:00:00Z'";
    check("", "null", NotReady);
    check("", "{}", NotReady);
    check("", &format!("{{phase: Running, conditions: {ready}}}"), Ready);
    check("", &format!("{{phase: Running, conditions: {not}}}"), NotReady);
    check("", "{phase: Running}", NotReady);
    check("", "{phase: Running, conditions: [{type: Ready, status: Unknown}]}", NotReady);
    check("", &format!("{{phase: Succeeded, conditions: {ready}}}"), NotReady);
    check(ends, &format!("{{phase: Running, conditions: {ready}}}"), Ending);
    check(ends, &format!("{{phase: Running, conditions: {not}}}"), Ended);
    check(ends, "null", Ended);
}

#[test]
fn secrets_are_cut_to_their_useful_fields_and_not_shown() {
    let text = "{metadata: {name: cert, namespace: shop}, type: kubernetes.io/tls, data: {tls.crt: Yw==, tls.key: aw==, password: cA==}}";
    let seen = Secret::from_api(&read(text)).unwrap();
    assert_eq!((&seen.name, &*seen.kind), (&Name::new("shop", "cert"), "kubernetes.io/tls"));
    let fields: Vec<_> = seen.data.iter().map(|(field, value)| (&**field, value.as_slice())).collect();
    assert_eq!(fields, [("tls.crt", &b"c"[..]), ("tls.key", &b"k"[..])]);
    assert!(!format!("{seen:?}").contains("107"));
    let empty = Secret::from_api(&read("{metadata: {name: s}}")).unwrap();
    assert_eq!((&*empty.kind, empty.data.len()), ("Opaque", 0));
}

#[test]
fn ingresses() {
    let seen = Ingress::from_api(&read::<networking::Ingress>(
        "
metadata: {name: web, namespace: shop, annotations: {nginx.ingress.kubernetes.io/canary: 'true'}}
spec:
  ingressClassName: nginx
  defaultBackend: {service: {name: fallback, port: {name: http}}}
  tls: [{hosts: [a.example], secretName: cert}, {secretName: ''}, {}]
  rules:
  - host: a.example
    http:
      paths:
      - {path: /x, pathType: Exact, backend: {service: {name: x, port: {number: 80}}}}
      - {path: /y, pathType: Prefix, backend: {service: {name: y, port: {number: 70000}}}}
      - {pathType: ImplementationSpecific, backend: {resource: {apiGroup: a, kind: Bucket, name: icons}}}
      - {path: '', pathType: Odd, backend: {}}
      - {path: /z, pathType: Prefix, backend: {service: {name: z}}}
  - {host: '*.b.example'}
  - {http: {paths: []}}
status: {loadBalancer: {ingress: [{hostname: lb.example}, {ip: 10.0.0.1}, {ip: 10.0.0.1}, {ip: ''}]}}
",
    ))
    .unwrap();
    assert!(seen.is_canary());
    assert_eq!(seen.class.as_deref(), Some("nginx"));
    let service = |name: &str, port| IngressBackend::Service { name: name.into(), port };
    assert_eq!(seen.default_backend, Some(service("fallback", PortRef::Name("http".into()))));
    let tls: Vec<_> = seen.tls.iter().map(|tls| (tls.hosts.len(), tls.secret.as_deref())).collect();
    assert_eq!(tls, [(1, Some("cert")), (0, None), (0, None)]);
    assert_eq!(seen.hosts().collect::<Vec<_>>(), [Some("a.example"), Some("*.b.example"), None]);
    let paths: Vec<_> = seen.rules[0]
        .paths
        .iter()
        .map(|path| (path.path.as_deref(), path.kind, path.backend.clone()))
        .collect();
    let resource = |what: &str| IngressBackend::Resource { what: what.into() };
    let expected = [
        (Some("/x"), PathType::Exact, service("x", PortRef::Number(80))),
        (Some("/y"), PathType::Prefix, service("y", PortRef::Number(0))),
        (None, PathType::ImplementationSpecific, resource("Bucket icons")),
        (None, PathType::ImplementationSpecific, resource("nothing")),
        (Some("/z"), PathType::Prefix, service("z", PortRef::Number(0))),
    ];
    assert_eq!(paths, expected);
    assert_eq!(seen.published.iter().map(|place| &**place).collect::<Vec<_>>(), ["10.0.0.1", "lb.example"]);
    assert_eq!(seen.services().count(), 4);

    let bare = Ingress::from_api(&read("{metadata: {name: web, namespace: shop}}")).unwrap();
    assert_eq!(
        (bare.class, bare.default_backend, bare.rules.len(), bare.published.len()),
        (None, None, 0, 0)
    );
}

#[test]
fn ingress_classes() {
    let check = |annotations: &str, spec: &str, controller: &str, is_default| {
        let text = format!("{{metadata: {{name: nginx, annotations: {annotations}}}, spec: {spec}}}");
        let expected = IngressClass { name: "nginx".into(), controller: controller.into(), is_default };
        assert_eq!(IngressClass::from_api(&read(&text)), Some(expected));
    };
    check("null", "null", "", false);
    check("{}", "{controller: k8s.io/ingress-nginx}", "k8s.io/ingress-nginx", false);
    check("{ingressclass.kubernetes.io/is-default-class: 'true'}", "{controller: c}", "c", true);
    check("{ingressclass.kubernetes.io/is-default-class: 'false'}", "{controller: c}", "c", false);
}
