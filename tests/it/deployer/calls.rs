//! What is asked of the API that is not as it should be, or not now.

use super::amdatu;
use super::scene::{Scene, shop, shop_with};
use crate::support::kubernetes::in_cluster;
use crate::support::{Answer, full, shared};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const DEPLOYMENTS: &str = "/deployments/?namespace=default";

#[test]
fn of_two_calls_at_once_one_runs() {
    let _machine = shared();
    in_cluster(|cluster| {
        let mut scene = Scene::begin(cluster);
        let deployers = [scene.deployer(), scene.deployer()];
        scene.deploy_first(&deployers[0]);
        // At once, of two deployers, each several times.
        for version in ["2", "3"] {
            let answers = std::thread::scope(|scope| {
                let calls = (0..6).map(|number| {
                    let deployer = &deployers[number % 2];
                    scope.spawn(move || deployer.call("POST", DEPLOYMENTS, Some(&shop(version))))
                });
                let calls = calls.collect::<Vec<_>>();
                calls.into_iter().map(|call| call.join().unwrap()).collect::<Vec<Answer>>()
            });
            let accepted = answers.iter().filter(|answer| answer.status == 202).collect::<Vec<_>>();
            assert_eq!(accepted.len(), 1, "{:?}", answers.iter().map(|one| one.text()).collect::<Vec<_>>());
            let id = accepted[0].json()["id"].as_str().unwrap().to_owned();
            for other in answers.iter().filter(|answer| answer.status != 202) {
                assert_eq!((other.status, &other.json()["id"]), (409, &json!(id)), "{}", other.text());
            }
            // Later on too, also by another deployer, and for another version.
            deployers[1].wait_stage(&id, "ready");
            for deployer in &deployers {
                let busy = deployer.call("POST", DEPLOYMENTS, Some(&shop("9")));
                assert_eq!((busy.status, &busy.json()["id"]), (409, &json!(id)), "{}", busy.text());
            }
            assert_eq!(deployers[1].ended(&id)["status"], "DEPLOYED", "{}", deployers[1].log(&id));
            scene.settled(version, 2);
            println!("deployer 6: one of 6 calls at once ran, 5 were 409 with its id");
        }
        // What is live, or was made by somebody else, does not begin.
        let again = deployers[0].call("POST", DEPLOYMENTS, Some(&shop("3")));
        assert_eq!(again.status, 409, "{}", again.text());
    });
}

/// What is wrong with a descriptor, and the fields that have to be named.
fn malformed() -> Vec<(Value, &'static [&'static str])> {
    let pods = |containers: Value| json!({"podspec": {"containers": containers}});
    vec![
        (json!({"appName": ""}), &["appName"]),
        (json!({"appName": "Shop Floor!"}), &["appName"]),
        (json!({"newVersion": ""}), &["newVersion"]),
        (json!({"newVersion": "1/2"}), &["newVersion"]),
        (
            json!({"newVersion": "a-version-that-is-too-long-for-the-name-of-anything-beside-shop"}),
            &["newVersion"],
        ),
        (json!({"deploymentType": "rolling"}), &["deploymentType"]),
        (json!({"frontend": "https://shop.example"}), &["frontend"]),
        (json!({"frontend": "shop example"}), &["frontend"]),
        (json!({"replicas": "two"}), &["replicas"]),
        (json!({"replica": 2}), &["replica"]),
        (json!({"podspec": null}), &["podspec"]),
        (json!({"podspec": "nginx"}), &["podspec"]),
        (pods(json!([])), &["podspec.containers"]),
        (pods(json!([{"name": "main"}])), &["podspec.containers[0].image"]),
        (pods(json!([{"name": "a", "image": "x"}, {"name": "b"}])), &["podspec.containers[1].image"]),
        (json!({"healthCheckPort": 70_000}), &["healthCheckPort"]),
        (json!({"healthCheckType": "guess"}), &["healthCheckType"]),
        (json!({"useHealthCheck": "yes"}), &["useHealthCheck"]),
        (
            json!({"additionHttpHeaders": [{"Header": "X Y", "Value": "1"}]}),
            &["additionHttpHeaders[0].Header"],
        ),
        (json!({"environment": {"A=B": "x"}}), &["environment.A=B"]),
        (json!({"flip": {"minHealthy": "150%"}}), &["flip.minHealthy"]),
        (json!({"flip": {"bake": "soon"}}), &["flip.bake"]),
        (json!({"flip": {"rollbackOn": "errors >"}}), &["flip.rollbackOn"]),
        (json!({"flip": {"bakes": "1s"}}), &["flip.bakes"]),
        (json!({"hooks": {"before": {"timeout": "10s"}}}), &["hooks.before.podspec"]),
        (json!({"timeouts": {"ready": "-1s"}}), &["timeouts.ready"]),
        (
            json!({"appName": "", "frontend": "a b", "flip": {"bake": "x"}, "timeouts": {"drain": []}}),
            &["appName", "frontend", "flip.bake", "timeouts.drain"],
        ),
    ]
}

#[test]
fn malformed_descriptors_are_told_every_wrong_field() {
    let _machine = shared();
    in_cluster(|cluster| {
        let mut scene = Scene::begin(cluster);
        let deployer = scene.deployer();
        let cases = malformed();
        for (fields, wrong) in &cases {
            let descriptor = shop_with("1", &[], fields.clone());
            for target in [DEPLOYMENTS, "/descriptors/?namespace=default"] {
                let answer = deployer.call("POST", target, Some(&descriptor));
                assert_eq!(answer.status, 400, "{target} {fields}: {}", answer.text());
                let answer = answer.json();
                let problems = answer["problems"].as_array().unwrap();
                let named =
                    problems.iter().map(|one| one["field"].as_str().unwrap()).collect::<BTreeSet<_>>();
                assert_eq!(named, wrong.iter().copied().collect(), "{fields}: {answer}");
                let says = |one: &Value| one["reason"].as_str().is_some_and(|reason| reason.len() > 5);
                assert!(problems.iter().all(says), "{answer}");
            }
        }
        for body in ["", "{", "[]", "\"shop\"", "{\"appName\": 1} x"] {
            let answer = deployer.call_plainly("POST", DEPLOYMENTS, body);
            assert_eq!(answer.status, 400, "{body:?}: {}", answer.text());
        }
        assert!(scene.fleet.keys.state("deployer/").is_empty(), "something was written down");
        scene.gone();
        println!("deployer 6: {} malformed descriptors, 400 with every wrong field", cases.len());
    });
}

#[test]
fn a_client_written_for_amdatu_works_unchanged() {
    let _machine = shared();
    in_cluster(|cluster| {
        let mut scene = Scene::begin(cluster);
        let deployer = scene.deployer();
        // Its pods are those of the tests; the times, which that deployer did not know, are as they are at full length.
        let pods = shop("1")["podspec"].clone();
        let mut fields = json!({"podspec": pods, "healthCheckPort": 8080});
        if !full() {
            fields["timeouts"] = json!({"clusterDrain": "1s"});
        }
        let mut calls = 0;
        amdatu::walk("default", fields.as_object().unwrap(), &mut |call| {
            calls += 1;
            let answer = deployer.call_plainly(&call.method, &call.path, &call.body);
            amdatu::Answer {
                status: answer.status,
                location: answer.field("location").map(str::to_owned),
                body: answer.text(),
            }
        });
        let left = scene.left();
        assert!(left.deployments.is_empty() && left.pods.is_empty() && left.selected.is_none(), "{left:?}");
        println!("deployer 7: {calls} calls of a client of Amdatu's, answered as documented");
    });
}
