//! The crates are a DAG of layers, and the pure ones stay pure: `cargo metadata` says who depends on whom.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a failure in a test's own helper is a failed test"
)]

use std::collections::BTreeMap;
use std::process::Command;

/// A crate may depend on crates of lower layers only. `sim` is for tests and may see everything but the binary.
const LAYERS: &[(&str, u8)] = &[
    ("onefold-types", 0),
    ("onefold-log", 1),
    ("onefold-store", 1),
    ("onefold-connector", 1),
    ("onefold-api", 1),
    ("onefold-identity", 2),
    ("onefold-audience", 2),
    ("onefold-destinations", 2),
    ("onefold-fold", 3),
    ("onefold-delivery", 3),
    ("onefold-ingest", 4),
    ("onefold-admin", 4),
    ("onefold", 5),
    ("onefold-sim", 6),
    ("onefold-bench", 6),
];

/// What a crate never depends on, from ARCHITECTURE.md's *never* column.
const NEVER: &[(&str, &[&str])] = &[
    ("onefold-types", &["tokio", "axum", "fjall"]),
    ("onefold-identity", &["tokio", "axum", "fjall", "onefold-log", "onefold-store", "rand"]),
    ("onefold-audience", &["tokio", "axum", "fjall", "onefold-log", "onefold-store", "rand"]),
    ("onefold-fold", &["tokio", "axum", "onefold-connector", "onefold-destinations", "onefold-delivery"]),
    ("onefold-connector", &["onefold-store", "onefold-log"]),
    ("onefold-destinations", &["onefold-store", "onefold-log"]),
    ("onefold-delivery", &["onefold-fold"]),
    ("onefold-ingest", &["onefold-store", "onefold-fold", "onefold-delivery"]),
];

fn dependencies() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut found = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let normal = package["dependencies"].as_array().unwrap().iter();
        let normal = normal.filter(|d| d["kind"].is_null()).map(|d| d["name"].as_str().unwrap().to_owned());
        found.insert(package["name"].as_str().unwrap().to_owned(), normal.collect());
    }
    found
}

#[test]
fn dependencies_point_to_lower_layers_only() {
    let layers: BTreeMap<&str, u8> = LAYERS.iter().copied().collect();
    for (name, dependencies) in dependencies() {
        let layer = *layers
            .get(name.as_str())
            .unwrap_or_else(|| panic!("{name} has no layer; give it one in this test"));
        for dependency in dependencies.iter().filter(|d| d.starts_with("onefold")) {
            assert!(
                layers[dependency.as_str()] < layer,
                "{name} (layer {layer}) depends on {dependency}, which is not below it"
            );
        }
    }
}

#[test]
fn no_crate_has_what_it_must_never_have() {
    let found = dependencies();
    for (name, never) in NEVER {
        for dependency in &found[*name] {
            assert!(!never.contains(&dependency.as_str()), "{name} must never depend on {dependency}");
        }
    }
}

#[test]
fn every_crate_takes_the_workspace_lints() {
    for name in dependencies().keys() {
        let folder = match name.strip_prefix("onefold-") {
            None => "../onefold",
            Some("bench") => "../../bench",
            Some(folder) => &format!("../{folder}"),
        };
        let path = format!("{}/{folder}/Cargo.toml", env!("CARGO_MANIFEST_DIR"));
        let manifest = std::fs::read_to_string(&path).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{path} lacks `[lints] workspace = true`");
    }
}
