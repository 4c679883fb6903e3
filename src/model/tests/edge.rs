//! Listeners, hosts and middlewares.

use super::*;

#[test]
fn listeners() {
    let key = "listeners/l";
    let tcp = |text: &str, expected: &str| {
        let value = serde_json::json!({ "Protocol": "http", "Address": { "Address": text } }).to_string();
        let written =
            format!(r#"{{"Protocol":"http","Address":{{"Network":"tcp","Address":"{expected}"}}}}"#);
        check(key, &value, Some(&written).map(|x| x.as_str()), &[]);
    };
    tcp("0.0.0.0:443", "0.0.0.0:443");
    tcp(":443", "0.0.0.0:443");
    tcp("localhost:0", "127.0.0.1:0");
    tcp("[::]:443", "[::]:443");
    tcp("[::1]:443", "[::1]:443");
    for text in
        ["443", "a.example:443", "10.0.0.1", "::1:443", ":", ":+80", ":65536", "[fe80::1%eth0]:80", "[::1]"]
    {
        let value = serde_json::json!({ "Protocol": "http", "Address": { "Address": text } }).to_string();
        check(key, &value, None, &[&format!("e Address.Address: {text:?} is no address to listen on")]);
    }
    check_same(
        key,
        r#"{"Protocol":"http","Address":{"Network":"unix","Address":"/run/f.sock"},"Settings":{"H2C":true}}"#,
    );
    check(
        key,
        r#"{"Protocol":"HTTP","Address":{"Network":"Unix","Address":"/run/f.sock"},"ProxyProtocol":"proxy_v1"}"#,
        Some(
            r#"{"Protocol":"http","Address":{"Network":"unix","Address":"/run/f.sock"},"ProxyProtocol":"PROXY_V1"}"#,
        ),
        &[],
    );
    check(
        key,
        r#"{"Protocol":"http","Address":{"Network":"unix","Address":"run/f.sock"}}"#,
        None,
        &["e Address.Address: \"run/f.sock\" is no path of a socket"],
    );
    check_same(
        key,
        r#"{"Protocol":"https","Address":{"Network":"tcp","Address":"0.0.0.0:1"},"Scope":"Host(`a`)","Settings":{"TLS":{"MinVersion":"VersionTLS13","MaxVersion":"VersionTLS12","SessionTicketsDisabled":true}}}"#
            .replace("VersionTLS13\",\"MaxVersion\":\"VersionTLS12", "VersionTLS13")
            .as_str(),
    );
    let https = r#"{"Protocol":"https","Address":{"Network":"tcp","Address":"0.0.0.0:1"}}"#;
    let with = |tls: &str| {
        https.replace("}}", &format!(r#"}},"ProxyProtocol":"NONE","Settings":{{"TLS":{tls}}}}}"#))
    };
    check(
        key,
        &with(
            r#"{"PreferServerCipherSuites":false,"SessionTicketsDisabled":false,"SessionCache":{"Type":"LRU","Settings":{"Capacity":1}},"CipherSuites":["TLS_RSA_WITH_RC4_128_SHA"],"MinVersion":"VersionTLS10","MaxVersion":""}"#,
        ),
        Some(https),
        &[
            "w Settings.TLS.MinVersion: is VersionTLS10, which is broken; VersionTLS12 is used",
            "w Settings.TLS.CipherSuites: are not sound and not offered: TLS_RSA_WITH_RC4_128_SHA; all sound ones are",
        ],
    );
    check(
        key,
        &with(r#"{"MinVersion":"VersionTLS13","MaxVersion":"VersionTLS12"}"#),
        None,
        &["e Settings.TLS.MinVersion: is VersionTLS13, above MaxVersion, which is VersionTLS12"],
    );
    check(
        key,
        &with(r#"{"MinVersion":"1.2","PreferServerCipherSuites":true}"#),
        None,
        &[r#"e Settings.TLS.MinVersion: is "1.2"; one of VersionTLS10"#],
    );
    let with_suites = |suites: &str| {
        https.replace(
            "}}",
            &format!(
                r#"}},"Settings":{{"TLS":{{"CipherSuites":[{suites}],"PreferServerCipherSuites":true}}}}}}"#
            ),
        )
    };
    check_same(
        key,
        &with_suites(
            r#""TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256","TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256""#,
        ),
    );
    // vulcand's own list.
    check(
        key,
        &with_suites(
            r#""TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256","TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256","TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA","TLS_RSA_WITH_AES_128_CBC_SHA""#,
        ),
        Some(&with_suites(
            r#""TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256","TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256""#,
        )),
        &[
            "w Settings.TLS.CipherSuites: are not sound and not offered: TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, TLS_RSA_WITH_AES_128_CBC_SHA",
        ],
    );
    check(
        key,
        &with_suites(r#""TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA255","TLS_AES_128_GCM_SHA256",7"#),
        None,
        &[
            "e Settings.TLS.CipherSuites[0]: is \"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA255\", which is no cipher suite that is known here; did you mean `TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256`?",
            "e Settings.TLS.CipherSuites[1]: is \"TLS_AES_128_GCM_SHA256\", which is no cipher suite that is known here",
            "e Settings.TLS.CipherSuites[2]: is the number 7; a string is expected",
        ],
    );
    check(
        key,
        &https.replace("}}", r#"},"Settings":{"H2C":true}}"#),
        Some(https),
        &["w Settings.H2C: has no effect"],
    );
    check(
        key,
        &https
            .replace("https", "http")
            .replace("}}", r#"},"Settings":{"TLS":{"MinVersion":"VersionTLS13"}}}"#),
        Some(
            r#"{"Protocol":"http","Address":{"Network":"tcp","Address":"0.0.0.0:1"},"Settings":{"TLS":{"MinVersion":"VersionTLS13"}}}"#,
        ),
        &["w Settings.TLS: has no effect on a listener that speaks `http`"],
    );
    for versions in ["PROXY_V1", "PROXY_V2", "PROXY"] {
        for address in ["127.0.0.1:1", "10.1.2.3:1", "[fd00::1]:1", "169.254.0.1:1"] {
            let proxied = format!(r#"}},"ProxyProtocol":"{versions}"}}"#);
            check_same(key, &https.replace("0.0.0.0:1", address).replace("}}", &proxied));
        }
        let from = format!(
            r#"}},"ProxyProtocol":"{versions}","ProxyProtocolFrom":["10.0.0.0/8","2001:db8::/32"]}}"#
        );
        check_same(key, &https.replace("}}", &from));
        let proxied = https.replace("}}", &format!(r#"}},"ProxyProtocol":"{versions}"}}"#));
        let warning = "w ProxyProtocol: lets whoever can connect say";
        check(key, &proxied, Some(&proxied), &[warning]);
        let public = proxied.replace("0.0.0.0", "[2001:db8::1]");
        check(key, &public, Some(&public), &[warning]);
    }
    check_same(
        key,
        r#"{"Protocol":"http","Address":{"Network":"unix","Address":"/run/f.sock"},"ProxyProtocol":"PROXY"}"#,
    );
    check(
        key,
        &https.replace(
            "}}",
            r#"},"ProxyProtocol":"PROXY","ProxyProtocolFrom":["10.1.2.3","::1","::ffff:1.2.3.4"]}"#,
        ),
        Some(&https.replace(
            "}}",
            r#"},"ProxyProtocol":"PROXY","ProxyProtocolFrom":["10.1.2.3/32","::1/128","1.2.3.4/32"]}"#,
        )),
        &[],
    );
    check(
        key,
        &https.replace("}}", r#"},"ProxyProtocol":"NONE","ProxyProtocolFrom":["10.0.0.0/8"]}"#),
        Some(https),
        &["w ProxyProtocolFrom: has no effect without `ProxyProtocol`"],
    );
    check(
        key,
        &https.replace("}}", r#"},"ProxyProtocol":"PROXY","ProxyProtocolFrom":["a.example","10.0.0.0/33"]}"#),
        None,
        &[
            r#"e ProxyProtocolFrom[0]: is "a.example"; an address or a network like `10.0.0.0/8` is expected"#,
            r#"e ProxyProtocolFrom[1]: is "10.0.0.0/33""#,
            "w ProxyProtocol: lets whoever",
        ],
    );
    check(
        key,
        r#"{"Protocol":"htps","Address":"0.0.0.0:1","ProxyProtocol":"V2"}"#,
        None,
        &[
            r#"e Protocol: is "htps"; one of http, https is expected; did you mean `https`?"#,
            "e Address: is a string; a JSON object is expected",
            r#"e ProxyProtocol: is "V2"; one of NONE, PROXY_V1, PROXY_V2, PROXY is expected"#,
        ],
    );
    check(
        key,
        r#"{"Address":{"Network":"udp","Address":":1"}}"#,
        None,
        &["e Protocol: is missing", r#"e Address.Network: is "udp"; one of tcp, unix is expected"#],
    );
    check(key, "{}", None, &["e Protocol: is missing", "e Address: is missing"]);
}

#[test]
fn client_certificates() {
    let key = "hosts/a.example/host";
    let with =
        |auth: serde_json::Value| serde_json::json!({ "Settings": { "ClientAuth": auth } }).to_string();
    let b64 = |text: &str| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
    let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let secret = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    for mode in ["off", "optional", "required"] {
        check_same(key, &with(serde_json::json!({ "Mode": mode, "CA": pem, "Forward": true })));
        check_same(key, &with(serde_json::json!({ "Mode": mode, "CAFile": "ca/clients.pem" })));
        let plain = with(serde_json::json!({ "Mode": mode, "CA": pem }));
        check(key, &with(serde_json::json!({ "mode": mode, "ca": b64(pem) })), Some(&plain), &[]);
    }
    check_same(key, &with(serde_json::json!({ "Mode": "off" })));
    let bad = |auth: serde_json::Value, findings: &[&str]| check(key, &with(auth), None, findings);
    bad(serde_json::json!({}), &["e Settings.ClientAuth.Mode: is missing"]);
    bad(serde_json::json!({ "Mode": "require", "CA": pem }), &["did you mean `required`?"]);
    bad(serde_json::json!({ "Mode": "required" }), &["e Settings.ClientAuth.CA: is missing"]);
    bad(
        serde_json::json!({ "Mode": "optional", "CA": pem, "CAFile": "a" }),
        &["e Settings.ClientAuth.CAFile: stands beside"],
    );
    bad(
        serde_json::json!({ "Mode": "required", "CAFile": "../a" }),
        &["e Settings.ClientAuth.CAFile: is not a relative"],
    );
    bad(
        serde_json::json!({ "Mode": "required", "CA": "AAAA" }),
        &["e Settings.ClientAuth.CA: holds no certificate"],
    );
    for text in [format!("{pem}{secret}"), b64(&format!("{secret}{pem}"))] {
        bad(
            serde_json::json!({ "Mode": "off", "CA": text }),
            &["e Settings.ClientAuth.CA: holds a private key"],
        );
    }
}

#[test]
fn hosts() {
    let key = "hosts/a.example/host";
    let pair = |value: serde_json::Value| serde_json::json!({ "Settings": { "KeyPair": value } }).to_string();
    let b64 = |text: &str| {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(text)
    };
    let pem = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
    let sealed = format!(
        r#"{{"Encryption":"secretbox.v1","Value":{{"Val":"{}","Nonce":"{}"}}}}"#,
        b64("ciphertext"),
        b64("abcdefghijklmnopqrstuvwx")
    );
    let written = pair(b64(&sealed).into());
    check_same(key, "{}");
    check_same("hosts/*.a.example/host", r#"{"Settings":{"Default":true}}"#);
    check(key, &pair(b64(&sealed).into()), Some(&written), &[]);
    check(key, &pair(sealed.as_str().into()), Some(&written), &[]);
    check(key, &pair(serde_json::from_str(&sealed).unwrap()), Some(&written), &[]);
    let plain = serde_json::json!({ "Cert": b64(pem), "Key": b64(pem) });
    check_same(key, &pair(plain.clone()));
    check(key, &pair(b64(&plain.to_string()).into()), Some(&pair(plain.clone())), &[]);
    check(key, &pair(serde_json::json!({ "cert": pem, "key": b64(pem) })), Some(&pair(plain.clone())), &[]);
    check_same(key, &pair(serde_json::json!({ "CertFile": "a/tls.crt", "KeyFile": "a/tls.key" })));
    check(
        key,
        r#"{"Name":"a.example","Settings":{"KeyPair":null,"AutoCert":{"Email":"a"},"OCSP":{"Enabled":false,"Period":"1h"}}}"#,
        Some("{}"),
        &["w Settings.AutoCert: is read and kept", "w Settings.OCSP: is read and kept"],
    );
    check(
        key,
        r#"{"Settings":{"AutoCert":null,"OCSP":{"Enabled":false,"Period":"","Responders":null,"SkipSignatureCheck":false}}}"#,
        Some("{}"),
        &[],
    );
    let bad = |value: serde_json::Value, findings: &[&str]| {
        let parsed = parse(key, &pair(value.clone()), Strictness::Stored);
        assert!(!format!("{parsed:?}").contains("s3cret"), "{parsed:?}");
        check(key, &pair(value), None, findings);
    };
    bad("s3cret".into(), &["e Settings.KeyPair: is not base64 of a JSON object"]);
    bad(b64("s3cret").into(), &["e Settings.KeyPair: is not base64 of a JSON object"]);
    bad(b64("[\"s3cret\"]").into(), &["e Settings.KeyPair: is a list; a JSON object is expected"]);
    bad(7.into(), &["e Settings.KeyPair: is the number 7; a base64 string or an object is expected"]);
    bad(serde_json::json!({}), &["e Settings.KeyPair: needs exactly one of"]);
    bad(
        serde_json::json!({ "Cert": b64(pem), "KeyFile": "x" }),
        &["e Settings.KeyPair: needs exactly one of"],
    );
    bad(serde_json::json!({ "Cert": b64(pem) }), &["e Settings.KeyPair.Key: is missing"]);
    bad(
        serde_json::json!({ "Cert": b64(pem), "Key": "s3cret" }),
        &["e Settings.KeyPair.Key: is not base64 of a PEM"],
    );
    bad(
        serde_json::json!({ "Cert": b64("s3cret"), "Key": pem }),
        &["e Settings.KeyPair.Cert: is not base64 of a PEM"],
    );
    for path in ["/etc/tls.key", "../tls.key", "a/../../b", "./../x", "a\u{0}b", "//x"] {
        bad(
            serde_json::json!({ "CertFile": "tls.crt", "KeyFile": path }),
            &["e Settings.KeyPair.KeyFile: is not a relative"],
        );
    }
    bad(
        serde_json::json!({ "Encryption": "aes" }),
        &[
            r#"e Settings.KeyPair.Encryption: is "aes"; `secretbox.v1` is expected"#,
            "e Settings.KeyPair.Value: is missing",
        ],
    );
    bad(
        serde_json::json!({ "Encryption": "secretbox.v1", "Value": { "Val": "s3cret!", "Nonce": "YWJj" } }),
        &[
            "e Settings.KeyPair.Value.Val: is not base64",
            "e Settings.KeyPair.Value.Nonce: has 3 bytes; 24 are expected",
        ],
    );
    for name in ["a b", "*", "*.", "a.*.b", "10.0.0.1", "bücher.example", "a..b", "a:443"] {
        check(&format!("hosts/{name}/host"), "{}", None, &["e : has a key that is no TLS server name"]);
    }
}

#[test]
fn middlewares() {
    let key = "frontends/f/middlewares/m";
    let with = |kind: &str, spec: &str| format!(r#"{{"Type":"{kind}","Middleware":{spec}}}"#);
    let same = |kind: &str, spec: &str| check_same(key, &with(kind, spec));
    let bad = |kind: &str, spec: &str, findings: &[&str]| check(key, &with(kind, spec), None, findings);

    same("rewrite", r#"{"Regexp":"^http://(.*)/a","Replacement":"http://$1/b"}"#);
    same("rewrite", r#"{"Regexp":"^(.*)$","Replacement":"$1","Redirect":true}"#);
    check(
        key,
        r#"{"Id":"m","Priority":1,"Type":"rewrite","Middleware":{"Regexp":"a","Replacement":"","RewriteBody":true,"Redirect":false}}"#,
        Some(r#"{"Priority":1,"Type":"rewrite","Middleware":{"Regexp":"a","Replacement":""}}"#),
        &["w Middleware.RewriteBody: is read and kept"],
    );
    bad("rewrite", "{}", &["e Middleware.Regexp: is missing"]);
    same("rewrite", r#"{"Regexp":"(?P<a>x)(y)","Replacement":"${a}$2$$"}"#);
    let replacement = |text: &str, reason: &str| {
        let spec = serde_json::json!({ "Regexp": "(a)(?P<b>)", "Replacement": text }).to_string();
        bad("rewrite", &spec, &[&format!("e Middleware.Replacement: {reason}")]);
    };
    replacement("http://a/{{.Request}}", "has `{{`, but templates are never evaluated");
    replacement("$3", "\"$3\" names the group `3`, which the regexp does not have");
    replacement("$1x", "\"$1x\" names the group `1x`");
    replacement("${c}", "\"${c}\" names the group `c`");
    replacement("a$", "\"a$\" has a `$` without a group behind it");
    for text in ["a\r\nb", "a b", "ü", "a#b", "\\evil", "\u{0}"] {
        replacement(text, &format!("is {text:?}; a URL has only visible ASCII characters"));
    }
    bad(
        "rewrite",
        r#"{"Regexp":"(a","Replacement":"$1"}"#,
        &["e Middleware.Regexp: is not a regular expression: "],
    );

    same("redirect", r#"{"Scheme":"https"}"#);
    same("redirect", r#"{"Host":"www.<a>.example","Path":"/x/<b>","Port":8443,"DropQuery":true,"Code":308}"#);
    same("redirect", r#"{"PrefixFrom":"/a","PrefixTo":"/b/c"}"#);
    same("redirect", r#"{"Host":"[::1]"}"#);
    check(
        key,
        &with("redirect", r#"{"PrefixFrom":"/a/","Code":302,"Port":0}"#),
        Some(&with("redirect", r#"{"PrefixFrom":"/a","PrefixTo":"/"}"#)),
        &[],
    );
    bad("redirect", "{}", &["e Middleware: changes nothing"]);
    bad("redirect", r#"{"Code":301}"#, &["e Middleware: changes nothing"]);
    bad(
        "redirect",
        r#"{"Scheme":"ftp","Code":200,"Port":70000}"#,
        &[
            "e Middleware.Scheme: is \"ftp\"",
            "e Middleware.Code: is 200",
            "e Middleware.Port: is 70000; from 0 to 65535 is allowed",
        ],
    );
    for host in [
        "a/b", "a:80", "a@b", "a b", "http://a", "a\r\nb", "[::1", "[x]", "-", "a..b", "<a>", "a.<b>",
        "<a>-x",
    ] {
        bad("redirect", &serde_json::json!({ "Host": host }).to_string(), &["e Middleware.Host: "]);
    }
    for path in ["a", "//evil", "/a b", "/a?b", "/a#b", "/\\evil", "/a\r\n", "<a>", "/ü", "/<", "/<a-b>"] {
        bad("redirect", &serde_json::json!({ "Path": path }).to_string(), &["e Middleware.Path: "]);
    }
    bad("redirect", r#"{"PrefixTo":"/b"}"#, &["e Middleware.PrefixTo: stands without PrefixFrom"]);
    bad(
        "redirect",
        r#"{"PrefixFrom":"a","PrefixTo":"//b"}"#,
        &["e Middleware.PrefixFrom", "e Middleware.PrefixTo"],
    );
    bad("redirect", r#"{"Path":"/a","PrefixFrom":"/b"}"#, &["e Middleware.PrefixFrom: stands beside Path"]);

    same("headers", "{}");
    same(
        "headers",
        r#"{"Request":{"Set":{"Host":"a.b:80","X-A":"b"},"Add":{"X-B":["c","d"]},"Remove":["X-C"]},"Response":{"Set":{"Server":""}}}"#,
    );
    check(
        key,
        &with("headers", r#"{"Response":{"Set":{"X-A":" 1 ","x-a":"2"}}}"#),
        Some(&with("headers", r#"{"Response":{"Set":{"x-a":"2"}}}"#)),
        &["w Middleware.Response.Set.x-a: stands here twice"],
    );
    for name in [
        "",
        "a b",
        "a:",
        "a\r\n",
        ":path",
        "ü",
        "Connection",
        "transfer-encoding",
        "CONTENT-LENGTH",
        "TE",
        "Upgrade",
    ] {
        bad(
            "headers",
            &serde_json::json!({ "Request": { "Set": { name: "x" } } }).to_string(),
            &["e Middleware.Request.Set."],
        );
        bad(
            "headers",
            &serde_json::json!({ "Response": { "Remove": [name] } }).to_string(),
            &["e Middleware.Response.Remove[0]: "],
        );
    }
    bad(
        "headers",
        r#"{"Response":{"Set":{"Host":"a"}}}"#,
        &["e Middleware.Response.Set.Host: can only be set"],
    );
    bad(
        "headers",
        r#"{"Request":{"Add":{"Host":"a"},"Remove":["host"]}}"#,
        &["Add.Host: can only", "Remove[0]: \"host\" can only"],
    );
    bad(
        "headers",
        r#"{"Request":{"Set":{"Host":"a\nb","A":"s3cret\u0000","B":1,"C":["x"],"Host ":"x"}}}"#,
        &[
            "Set.Host: has a control character",
            "Set.A: has a control character, which a field value cannot carry",
            "Set.B: is the number 1; a string is expected",
            "Set.C: is a list; a string is expected",
            "Set.Host : is no name",
        ],
    );
    bad(
        "headers",
        r#"{"Request":{"Set":{"Host":"a/b"}}}"#,
        &["Set.Host: is \"a/b\"; a host with an optional port is expected"],
    );
    bad(
        "headers",
        &format!(r#"{{"Request":{{"Set":{{"A":"{}"}}}}}}"#, "x".repeat(8193)),
        &["has 8193 bytes"],
    );

    bad("rewrit", "{}", &["is expected; did you mean `rewrite`?"]);
    check(key, r#"{"Type":"headers"}"#, None, &["e Middleware: is missing"]);
    check(key, "{}", None, &["e Type: is missing"]);
    check("middlewares/m", &with("headers", "{}"), Some(&with("headers", "{}")), &[]);
}
