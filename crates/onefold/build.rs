//! Embeds analytics.js as its package publishes it, if `make clients` has fetched it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").unwrap_or_default()).join("../../clients");
    let package = root.join("node_modules/@segment/analytics-next");
    println!("cargo::rerun-if-changed={}", root.join("package-lock.json").display());
    println!("cargo::rerun-if-changed={}", package.join("package.json").display());
    let code =
        if package.join("dist/umd/standalone.js").is_file() { bundle(&package)? } else { "None".to_owned() };
    let out = PathBuf::from(env::var("OUT_DIR").unwrap_or_default()).join("client.rs");
    fs::write(out, code)
}

/// The expression that makes the bundle.
fn bundle(package: &Path) -> io::Result<String> {
    let package = package.canonicalize()?;
    let umd = package.join("dist/umd");
    let mut chunks: Vec<PathBuf> =
        fs::read_dir(&umd)?.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    chunks.retain(|path| {
        path.to_string_lossy().ends_with(".js") && path.to_string_lossy().contains(".bundle.")
    });
    chunks.sort();
    let mut list = String::new();
    for chunk in &chunks {
        let name = chunk.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        write!(list, "({name:?}, include_bytes!({:?})), ", chunk.display().to_string())
            .map_err(io::Error::other)?;
    }
    let standalone = umd.join("standalone.js").display().to_string();
    let licence = package.join("LICENSE.MD").display().to_string();
    Ok(format!(
        "{{ const CHUNKS: &[(&str, &[u8])] = &[{list}]; \
         Some(onefold_ingest::ClientBundle {{ standalone: include_str!({standalone:?}), chunks: CHUNKS, licence: include_str!({licence:?}) }}) }}"
    ))
}
